from pathlib import Path

import jupytext
import nbclient
import pytest

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "analysis" / "notebooks").glob("*.py"))
SHOWN = {"study": "Which head is best on frozen features?", "ablation": "95 % interval", "longtail": "tau_norm"}


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
