import subprocess
from pathlib import Path

import forked
import numpy as np
import pandas as pd
import pytest
from run_records import run_id_of

from analysis.cli import run
from analysis.commands import command_of, project_command
from analysis.diff import compare_runs
from analysis.tables import TABLES
from benchmarks.run_store import Record, write_records
from resnet_mlflow.cli import parse
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import load_predictions


def test_table_prints_the_table(study, capsys):
    run(["table", "heads", "--experiment", "resnet-mlflow", "--dataset", "digits"])
    printed = capsys.readouterr().out
    assert printed.startswith("## Which head is best on frozen features?")
    assert all(head in printed for head in ("knn", "prototype", "linear"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tabel", "heads"],
            "command must be one of report, table, explain, repeat, diff, history, got 'tabel'; did you mean",
        ),
        (["table", "headz"], "table must be one of leaderboard, .*, got 'headz'; did you mean 'heads'"),
        (["table"], "required: name; see python -m analysis table --help"),
        (["table", "heads", "--folder", "x"], "unrecognized arguments: --folder x"),
        (["table", "heads", "--experiment", "resnet-mlfow"], "did you mean 'resnet-mlflow'"),
        (["table", "tuning"], "table tuning needs finished runs with n_trials, got none among"),
        (["table", "heads", "--tags", "seed"], "tags must be comma-separated pairs name=value"),
        (["explain", "abc"], "run_id must name a run of .*, got 'abc'"),
        (["repeat", "abc"], "run_id must name a run of .*, got 'abc'"),
        (["diff", "abc", "abd"], "run_id must name a run of .*, got 'abc'"),
    ],
)
def test_run_refuses_in_one_line(study, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        run(arguments)
    assert "\n" not in str(error.value)


def test_help_of_table_lists_what_there_is(capsys):
    with pytest.raises(SystemExit):
        run(["table", "--help"])
    printed = capsys.readouterr().out
    assert all(f"  {row.name} " in printed and row.question in printed for row in TABLES.values())


def test_command_line_exits_with_2_and_one_line(study):
    command = [forked.python(), "-m", "analysis", "--experiment", "none such"]
    project = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: experiment must be one of ")
    assert len(done.stderr.splitlines()) == 1


def test_explain_tells_what_stands_behind_a_number(study, capsys):
    row = study.frame[study.frame["name"] == "knn resnet18 s1"].iloc[0]
    run(["explain", row["run_id"]])
    printed = capsys.readouterr().out
    command = "python -m entrypoints.fit_head --seed 1 --weights random --head knn --head_params '{k: 5}'"
    assert command in printed
    assert "mlflow run . -e fit_head -P seed=1 -P weights=random" in printed
    features = study.frame.loc[study.frame["stage"] == "extract", "run_id"].iloc[-1]
    for description in (
        row["dataset_digest"],
        row["version"],
        row["parent"],
        features,
        "preprocessing of images: resize-crop-7/8-antialias-imagenet",
        "Python 3.",
        f"{row['test/accuracy']:.4f}",
    ):
        assert description in printed


def test_command_of_gives_back_the_configuration():
    config = FitHeadConfig(head="knn", head_params="{k: 5}", seed=3, share_features=False, val_fraction=0.25)
    arguments = command_of("fit_head", config.model_dump())
    assert arguments[:2] == ["-m", "entrypoints.fit_head"]
    assert parse(FitHeadConfig, arguments[2:]) == config
    assert project_command("study", {"study": "small"}) == "mlflow run . -e main -P study=small"


def test_command_of_refuses_a_run_that_no_entry_point_makes():
    with pytest.raises(InputError, match="must come from an entry point to be repeated, got stage 'trial'"):
        command_of("trial", {})


def test_compare_runs_counts_what_changed_sides(study):
    first, second = (run_id_of(study, f"{head} resnet18 s0") for head in ("prototype", "linear"))
    found = compare_runs(first, second)
    a, b = load_predictions(first), load_predictions(second)
    assert np.array_equal(a.item_ids, b.item_ids)
    assert found.changed["gained"].sum() == (b.correct & ~a.correct).sum()
    assert len(found.changed) == (b.correct != a.correct).sum()
    assert found.accuracy.difference == pytest.approx(b.correct.mean() - a.correct.mean())
    assert found.accuracy.interval[0] < found.accuracy.difference < found.accuracy.interval[1]
    assert np.trace(found.confusion) == b.correct.sum() - a.correct.sum()
    assert found.confusion.sum() == 0
    assert [name for name, *_ in found.parameters] == ["head"]


def test_diff_writes_tables_figures_and_thumbnails(study, tmp_path, capsys):
    first, second = (run_id_of(study, f"{head} resnet18 s0") for head in ("prototype", "linear"))
    run(["diff", first, second, "--output", str(tmp_path / "diff")])
    names = {path.name for path in (tmp_path / "diff").iterdir()}
    figures = {"confusion_difference.png", "changed_items.png"}
    assert names == {"diff.md", "confusion_difference.csv", "changed_items.csv"} | figures
    assert all((tmp_path / "diff" / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    assert "images are correct in the second run only" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "diff" / "confusion_difference.csv", index_col=0).shape == (10, 10)


def test_diff_of_a_run_with_itself_is_too_small_to_test(study, tmp_path, capsys):
    run_id = run_id_of(study, "knn resnet18 s0")
    run(["diff", run_id, run_id, "--output", str(tmp_path / "diff")])
    printed = capsys.readouterr().out
    assert "McNemar: n too small: only one run is correct on 0 images" in printed
    assert "No parameters differ." in printed
    assert not (tmp_path / "diff" / "changed_items.png").exists()


def test_diff_refuses_other_data_and_missing_predictions(store):
    tags = {"stage": "fit_head", "dataset_digest": "d1"}
    records = [Record("a", tags), Record("b", tags | {"dataset_digest": "d2"}), Record("c", tags)]
    a, b, c = write_records(store, "bare", records)
    with pytest.raises(InputError, match="compared runs must share one dataset digest, got d1 and d2"):
        compare_runs(a, b)
    with pytest.raises(InputError, match=r"must have predictions of its test items to be compared, got run"):
        compare_runs(a, c)
    with pytest.raises(InputError, match=r"a run must have config\.json to be explained or repeated"):
        run(["explain", a])
