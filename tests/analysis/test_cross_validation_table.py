"""Cross-validated configurations have a table of their own, and stand in no other."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from run_records import cell

from analysis.answers import answers_of
from analysis.diff import compare_runs
from analysis.render import to_markdown
from analysis.repeat import repeat
from analysis.report import build_report
from analysis.resampling import out_of_fold
from analysis.tables import TABLES, chart_of
from analysis.warnings import warnings_of, warnings_of_tables
from resnet_mlflow.errors import InputError

N_ITEMS, FOLDS = 200, 5


def divided(score, head, seed=0, **more):
    scores = {
        f"cv_{name}{end}": score for name in ("accuracy", "balanced_accuracy") for end in ("", "_ci_low", "_ci_high")
    }
    params = {"folds": str(FOLDS), "repeats": "1", **more}
    own = cell(seed, score, head, params=params, metrics=scores | {"cv_val_accuracy": score})
    for name in [name for name in own.metrics if name.startswith(("test/", "val/"))]:
        del own.metrics[name]
    return own


def log_out_of_fold(run_id, folder, correct, folds=None):
    labels = np.arange(N_ITEMS) % 2
    predictions = np.where(correct, labels, 1 - labels)
    frame = pd.DataFrame({"item_id": [f"i{i:04d}" for i in range(N_ITEMS)], "label": labels.astype(str)})
    frame = frame.assign(prediction=predictions.astype(str), score_0=0.5, score_1=0.5, repeat=0)
    frame = frame.assign(fold=np.arange(N_ITEMS) // 40 if folds is None else folds)
    path = folder / "predictions.parquet"
    frame.to_parquet(path)
    mlflow.MlflowClient().log_artifact(run_id, str(path), "evaluation/cross_validation")


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    out_of_fold.cache_clear()


def run_ids(runs):
    return dict(zip(runs.frame["head"], runs.frame["run_id"], strict=True))


def test_cross_validated_runs_stand_in_their_own_table_only(written):
    runs = written(cell(0, 0.99, "svm"), divided(0.7, "svm"), divided(0.6, "knn"))
    assert TABLES["heads"](runs.frame).frame["head"].tolist() == ["svm"]
    assert TABLES["heads"](runs.frame).frame["test/accuracy"].tolist() == [0.99]
    table = TABLES["cross_validation"](runs.frame)
    assert table.frame["head"].tolist() == ["svm", "knn"]
    assert table.frame["cv_accuracy"].tolist() == [0.7, 0.6]
    assert "test/accuracy" not in table.frame
    report = build_report(runs)
    assert report.body().count("in cross-validation?") == 1


def test_bold_needs_the_corrected_test(written, tmp_path):
    runs = written(divided(0.9, "svm"), divided(0.7, "knn"), divided(0.89, "linear"))
    rng, of = np.random.default_rng(0), run_ids(runs)
    for head, accuracy in (("svm", 0.9), ("knn", 0.5), ("linear", 0.9)):
        log_out_of_fold(of[head], tmp_path, rng.random(N_ITEMS) < accuracy)
    table = TABLES["cross_validation"](runs.frame)
    assert not table.winners
    (note,) = [note for note in table.notes if "cannot be excluded" in note]
    assert "svm and linear cannot be excluded" in note
    two = table.frame["head"].isin(["svm", "knn"])
    alone = TABLES["cross_validation"](runs.frame[runs.frame["head"].isin(["svm", "knn"])])
    assert two.sum() == 2
    assert (0, "cv_accuracy") in alone.winners
    assert "**0.9000" in to_markdown(alone)
    assert "95 % over folds" in chart_of(alone).axis


def test_what_folds_do_not_tell_apart_is_said_with_the_cheapest_and_what_would_tell(written, tmp_path):
    runs = written(divided(0.9, "svm"), divided(0.88, "knn"), divided(0.5, "linear"))
    seconds = runs.frame["head"].map({"svm": 9.0, "knn": 2.0, "linear": 1.0})
    frame, rng, of = runs.frame.assign(**{"time/fit_s": seconds}), np.random.default_rng(0), run_ids(runs)
    for head, accuracy in (("svm", 0.9), ("knn", 0.88), ("linear", 0.5)):
        log_out_of_fold(of[head], tmp_path, rng.random(N_ITEMS) < accuracy)
    table = TABLES["cross_validation"](frame)
    (note,) = [note for note in table.notes if "cannot be excluded" in note]
    assert "svm and knn cannot be excluded (95 % confidence set of the best). The cheapest of them: knn (2.00 s" in note
    assert "test images instead of 200 (80 % power" in note
    (doubt,) = table.doubts
    assert doubt.n_items == N_ITEMS < doubt.n_needed
    (answer,) = answers_of([table])
    assert "svm on frozen resnet18 is the best on validation data" in answer.text
    assert "not significantly better than 1 of the 2 others: knn on frozen resnet18 with " in answer.text
    assert "is cheaper (2.00 s to fit)" in answer.text
    assert any(line.startswith("W05") for line in warnings_of_tables([table]))


def test_other_folds_and_other_training_images_do_not_compete(written, tmp_path):
    runs = written(divided(0.9, "svm"), divided(0.5, "knn", repeats="2"), divided(0.4, "linear", shots="5"))
    table = TABLES["cross_validation"](runs.frame)
    assert not table.winners
    assert table.frame["division"].tolist() == ["1 x 5 folds, seed 0", "1 x 5 folds, seed 0", "2 x 5 folds, seed 0"]
    assert table.frame["training"].tolist() == ["", "5 shots", ""]


def test_differing_folds_are_reported(written, tmp_path):
    runs = written(divided(0.9, "svm"), divided(0.5, "knn"))
    of = run_ids(runs)
    log_out_of_fold(of["svm"], tmp_path, np.ones(N_ITEMS, dtype=bool))
    log_out_of_fold(of["knn"], tmp_path, np.ones(N_ITEMS, dtype=bool), folds=np.arange(N_ITEMS) % 5)
    (note,) = [note for note in TABLES["cross_validation"](runs.frame).notes if "nothing is bold" in note]
    assert "must have the same images and folds, got other folds in runs" in note


def test_a_baseline_of_one_split_is_none_for_folds(written):
    only_split = written(cell(0, 0.9, "linear"), divided(0.9, "svm"), divided(0.8, "knn"))
    assert any("W06" in line for line in warnings_of(only_split.frame))
    both = written(divided(0.9, "linear"), divided(0.9, "svm"), experiment="other")
    assert not any("W06" in line for line in warnings_of(both.frame))


def test_what_needs_one_split_refuses_folds(written):
    runs = written(divided(0.9, "svm"))
    run_id = runs.frame["run_id"].iloc[0]
    mlflow.MlflowClient().set_tag(run_id, "folds", "5")
    with pytest.raises(InputError, match="diff needs runs on a fixed split, got the cross-validation"):
        compare_runs(run_id, run_id)
    with pytest.raises(InputError, match=r"repeat needs runs on a fixed split, .*; run its command \(see explain\)"):
        repeat(run_id)
