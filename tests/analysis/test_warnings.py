"""The warnings of an experiment: those that runs logged, missing baselines, differences that images cannot show."""

from pathlib import Path

import numpy as np
import pytest
from run_records import cell, log_predictions

from analysis.baselines import ADJUSTMENTS
from analysis.documentation import with_warnings
from analysis.report import build_report
from analysis.warnings import ALL_RULES
from benchmarks.run_store import Record
from resnet_mlflow.longtail.methods import METHODS


def tail(method, head="linear", **tags):
    params = {"imbalance_factor": "100", "train_layers": "fc"}
    return cell(0, 0.5, head, stage="longtail", params=params, method=method, **tags)


def finetuned(layers, **tags):
    return cell(0, 0.6, "linear", stage="finetune", params={"train_layers": layers}, **tags)


def codes(runs):
    return [line.split()[0] for line in runs.warnings]


def test_what_runs_logged_stands_together_with_their_names(written):
    logged = {"warning.W03": "2 of 3 classes have fewer than 10 test images (eel 0, cat 9)"}
    runs = written(
        cell(0, 0.5, "linear", **logged),
        cell(1, 0.5, "linear", **logged),
        cell(0, 0.5, "knn", **{"warning.W03": "other words\nover two lines", "warning.W77": "of no rule"}),
    )
    (line,) = runs.warnings
    assert line == (
        "W03 Classes with too few images: 2 of 3 classes have fewer than 10 test images (eel 0, cat 9) "
        f"(fit_head linear s0 and 1 more); other words over two lines (fit_head knn s0). {ALL_RULES['W03'].advice}"
    )


def test_a_run_that_failed_is_not_reviewed(written):
    failed = cell(0, 0.5, "linear", **{"warning.W03": "few"})
    failed = Record(failed.name, failed.tags, failed.params, failed.metrics, "FAILED")
    assert codes(written(failed)) == ["W08"]


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([finetuned("all")], "fine-tuned networks without a linear head on the frozen features"),
        ([finetuned("all"), finetuned("fc")], ""),
        ([finetuned("all"), cell(0, 0.5, "linear")], ""),
        ([finetuned("all"), cell(0, 0.5, "svm")], "fine-tuned networks without a linear head"),
        # Of other weights, and of few images, it is no baseline of this one.
        ([finetuned("all"), cell(0, 0.5, "linear", weights="other")], "fine-tuned networks without"),
        ([finetuned("all"), cell(0, 0.5, "linear", params={"shots": "5"})], "fine-tuned networks without"),
        ([finetuned("all"), cell(0, 0.5, "linear", digest="d2")], "fine-tuned networks without"),
        ([cell(0, 0.5, "svm")], ""),
        ([cell(0, 0.5, "svm"), cell(0, 0.5, "knn")], "heads on frozen features without the linear head"),
        ([cell(0, 0.5, "svm"), cell(0, 0.5, "knn"), cell(0, 0.5, "linear")], ""),
        ([cell(0, 0.5, "svm"), cell(0, 0.5, "knn", backbone="resnet50")], ""),
        ([tail("none")], ""),
        ([tail("none"), tail("crt")], "long-tail methods without logit adjustment"),
        ([tail("none"), tail("crt"), tail("balanced_softmax")], ""),
        ([tail("none"), tail("force:resample_sqrt+logit_adjust_loss")], ""),
        ([tail("crt"), tail("logit_adjust_loss")], "long-tail methods without method none"),
        ([tail("none"), tail("crt"), tail("logit_adjust_posthoc", head="mlp")], "without logit adjustment"),
        ([tail("none"), tail("of no version of ours")], "without logit adjustment"),
    ],
)
def test_w06_names_the_baseline_that_is_missing(written, records, text):
    lines = [line for line in written(*records).warnings if line.startswith("W06")]
    assert bool(lines) == bool(text)
    assert text in " ".join(lines)


def test_adjustments_are_methods():
    assert set(ADJUSTMENTS) <= set(METHODS)


def test_w05_names_differences_that_the_test_images_cannot_show(written, tmp_path):
    runs = written(cell(0, 0.8, "linear"), cell(0, 0.82, "svm"))
    right = {"linear": np.arange(200) % 10 < 8, "svm": np.arange(200) % 10 < 8}
    right["svm"][[8, 9, 18, 19, 28]] = True  # better in five,
    right["svm"][[0]] = False  # worse in one
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, right[row.head])
    (line,) = [line for line in build_report(runs).missing if line.startswith("W05")]
    assert "table heads, resnet18: svm over linear by 0.0200 needs about 590 test images, there are 200" in line


def test_w05_of_a_table_of_gains_is_about_its_gains(written, tmp_path):
    runs = written(cell(0, 0.8), cell(0, 0.82, params={"n_trials": "20"}), cell(0, 0.79, "linear"))
    right = np.arange(200) % 10 < 8
    better = right.copy()
    better[[8, 9, 18, 19, 28]], better[0] = True, False
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, better if runs.frame.loc[row.Index, "config.n_trials"] else right)
    (table,) = [table for table in build_report(runs).tables if table.name == "tuning"]
    assert [(doubt.claim, round(doubt.difference, 4)) for doubt in table.doubts] == [("trials 20 over trials 0", 0.02)]


def test_w05_is_silent_where_the_images_suffice_or_nothing_differs(written, tmp_path):
    runs = written(cell(0, 0.5, "linear"), cell(0, 0.9, "svm"), cell(0, 0.5, "knn"))
    right = {"linear": 5, "svm": 9, "knn": 5}
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, np.arange(200) % 10 < right[row.head])
    assert not [line for line in build_report(runs).missing if line.startswith("W05")]


def test_codes_are_given_once_and_documented_from_their_rows():
    assert list(ALL_RULES) == [f"W{number:02d}" for number in range(1, len(ALL_RULES) + 1)]
    page = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text(encoding="utf-8")
    assert page == with_warnings(page), "run `make mlproject`"
    assert all(f"| {rule.name} | {rule.title} | {rule.when} | {rule.advice} |" in page for rule in ALL_RULES.values())
