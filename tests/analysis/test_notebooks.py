import runpy
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
from run_records import cell, log_predictions

from analysis.runs import load_runs
from analysis.tables import TABLES

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "analysis" / "notebooks").glob("*.py"))
SHOWN = {
    "study": "Which head is best on frozen features?",
    "ablation": "95 % interval",
    "longtail": "tau_norm",
    "pipeline": "test accuracy 0.",
}
# The others read runs.
OF_RUNS = [path for path in NOTEBOOKS if path.stem != "pipeline"]


def test_notebooks_are_those_of_the_documentation():
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_the_demo(path, demo_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    notebook = jupytext.read(path)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PROJECT)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert SHOWN[path.stem] in str(outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    # The demo has one backbone, and a grid of one row is no chart.
    assert ("image/png" in str(outputs)) == (path.stem != "ablation")


def values_of(path):
    """Return the variables of a notebook that was run as a script."""
    return runpy.run_path(str(path))


def test_notebooks_show_the_numbers_of_the_report_and_mix_no_protocols(written, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "synthetic")
    runs = written(
        *(cell(seed, 0.8 + seed / 100, head, protocol="full") for seed in (0, 1) for head in ("svm", "knn")),
        *(cell(seed, 0.9, "svm", params={"n_trials": "5"}) for seed in (0, 1)),
        *(cell(seed, 0.3, head, params={"shots": "4"}) for seed in (0, 1, 2) for head in ("svm", "knn")),
        cell(0, 0.99, "knn", params={"folds": "5"}, metrics={"cv_accuracy": 0.99}),
    )
    for run_id in runs.frame.loc[runs.frame["protocol"] == "full", "run_id"]:
        log_predictions(run_id, tmp_path, [True] * 8 + [False] * 2)
    heads = TABLES["heads"](runs.frame).frame
    shown = values_of(PROJECT / "analysis/notebooks/study.py")["rows"].set_index(["head", "variant"])["test/accuracy"]
    assert shown.to_dict() == pytest.approx(heads.set_index(["head", "variant"])["test/accuracy"].to_dict())
    assert shown.to_dict() == pytest.approx({("svm", ""): 0.805, ("svm", "n_trials=5"): 0.9, ("knn", ""): 0.805})
    notebook = values_of(PROJECT / "analysis/notebooks/ablation.py")
    grid = TABLES["ablation"](runs.frame).frame
    assert notebook["mean"].loc["resnet18"].to_dict() == pytest.approx(grid[["svm", "knn"]].iloc[0].to_dict())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_rendered_notebook_has_the_cells_of_the_text_and_their_results(path):
    text, rendered = jupytext.read(path), nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in rendered.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ], "run `make notebooks`"
    outputs = [output for cell in rendered.cells if cell.cell_type == "code" for output in cell.outputs]
    assert SHOWN[path.stem].removesuffix("tau_norm") in str(outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert path.with_suffix(".ipynb").stat().st_size < 1_000_000


@pytest.mark.parametrize("path", OF_RUNS, ids=lambda path: path.stem)
def test_notebook_without_runs_says_what_it_needs(path, written, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "synthetic")
    written(cell(0, 0.8, stage="extract"))
    values_of(path)
    assert "needs finished" in capsys.readouterr().out
    assert load_runs("synthetic").frame["protocol"].tolist() == ["full"]
