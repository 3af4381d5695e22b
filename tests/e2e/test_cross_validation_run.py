"""Cross-validation by the command line: one head, and a study."""

import mlflow
import pytest
import yaml

from resnet_mlflow.errors import InputError
from resnet_mlflow.study import load_study


def runs_of(stage):
    return mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.stage = '{stage}'", output_format="list"
    )  # fmt: skip


@pytest.mark.slow
def test_a_study_cross_validates_its_cells_and_continues(run_module, image_folder, tmp_path):
    study = {
        "name": "divided",
        "features": {"weights": "random", "dataset": f"folder:{image_folder}", "image_size": 32},
        "folds": 2,
        "repeats": 2,
        "backbones": ["resnet18"],
        "heads": {"knn": {"k": 3}, "prototype": None},
    }
    path = tmp_path / "divided.yaml"
    path.write_text(yaml.safe_dump(study))
    report = tmp_path / "report"
    first = run_module("main", "--study", str(path), "--report_dir", str(report))
    assert first.returncode == 0, first.stderr
    assert "2 x 2 folds, seed 0: mean over folds" in first.stdout
    assert len(runs_of("fold")) == 8
    (parent,) = runs_of("study")
    cells = runs_of("fit_head")
    assert {cell.data.tags["mlflow.parentRunId"] for cell in cells} == {parent.info.run_id}
    table = (report / "tables" / "cross_validation.md").read_text()
    assert "How good is each method in cross-validation?" in table
    assert not (report / "tables" / "heads.md").exists()
    again = run_module("main", "--study", str(path))
    assert again.returncode == 0, again.stderr
    assert "[1/2] knn resnet18 s0 (finished before)" in again.stderr
    assert len(runs_of("fold")) == 8


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seeds": [0, 1]}, "only one seed is allowed if folds is above 0, got 0, 1; repeats draws folds with seed"),
        ({"few_shot": {"shots": [1]}}, "few_shot must be left out if folds is above 0"),
        (
            {"features": {"folds": 3}},
            "features must not set 'folds', which all cells share; put it at the top level, next to seeds",
        ),
        ({"folds": 1}, "folds must be 0 (the dataset's test split) or at least 2, got 1"),
        ({"folds": 0, "repeats": 2}, "repeats is used only if folds is above 0, got repeats=2"),
    ],
)
def test_a_study_refuses_folds_that_do_not_fit(tmp_path, changes, line):
    path = tmp_path / "x.yaml"
    content = {"name": "x", "folds": 2, "backbones": ["resnet18"], "heads": {"knn": None}}
    path.write_text(yaml.safe_dump(content | changes))
    with pytest.raises(InputError) as refused:
        load_study(str(path))
    assert line in str(refused.value)


def test_fit_head_predicts_a_folder_over_folds(run_module, image_folder):
    given = ("--dataset", f"folder:{image_folder}", "--weights", "random", "--image_size", "32", "--head", "knn")
    ran = run_module("fit_head", *given, "--folds", "2")
    assert ran.returncode == 0, ran.stderr
    (run,) = runs_of("fit_head")
    assert f"knn on frozen resnet18, 1 x 2 folds: accuracy {run.data.metrics['cv_accuracy']:.4f}" in ran.stderr
    assert [fold.data.tags["mlflow.parentRunId"] for fold in runs_of("fold")] == [run.info.run_id] * 2
    refused = run_module("fit_head", *given, "--folds", "11")
    assert refused.returncode == 2
    (message,) = [text for text in refused.stderr.splitlines() if text.startswith("error: ")]
    assert "folds must be at most the images of the smallest class, got 11 for 10 in class 'blue'" in message
