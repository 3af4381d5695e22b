import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import mlflow
import numpy as np
import pytest

import resnet_mlflow as rm
from resnet_mlflow.errors import InputError

PROJECT = Path(__file__).parents[1]


def test_import_takes_no_time_and_lists_the_interface():
    code = (
        "import sys, time; start = time.perf_counter(); import resnet_mlflow as rm; took = time.perf_counter() - start;"
        "assert {'load', 'extract', 'fit'} <= set(dir(rm));"
        "print(took, 'torch' in sys.modules, 'mlflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    took, *imported = ran.stdout.split()
    assert float(took) < 0.2
    assert imported == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        rm.fti  # noqa: B018


def test_ten_lines_of_the_readme_run(image_folder, tmp_path, monkeypatch, cache_dir, capsys):
    monkeypatch.setenv("RESNET_MLFLOW_CACHE", str(cache_dir))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    (lines,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    photo = next((image_folder / "test" / "red").iterdir())
    lines = lines.replace("/data/birds", str(image_folder)).replace("crow.jpg", str(photo))
    assert len([line for line in lines.splitlines() if line.strip()]) <= 10
    names = {}
    exec(lines.replace('backbone="resnet18"', 'backbone="resnet18", weights="random", image_size=32'), names)
    assert "['red']" in capsys.readouterr().out
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("confusion.png", "why.png"))
    assert names["scores"].metrics["accuracy"] > 0.5
    assert names["birds"].run_id == ""


def test_tracked_and_untracked_classifiers_are_the_same(store, image_folder):
    data = rm.load(f"folder:{image_folder}")
    features = rm.extract(data, weights="random", image_size=32)
    here, tracked = rm.fit(features, "knn", k=3), rm.fit(features, "knn", track=True, k=3)
    assert here.evaluate("val").metrics == tracked.evaluate("val").metrics
    run = mlflow.get_run(tracked.run_id)
    assert run.data.metrics["test/accuracy"] == here.evaluate().metrics["accuracy"]
    assert run.data.params["head.k"] == "3"
    photos = sorted((image_folder / "test" / "blue").iterdir())
    np.testing.assert_array_equal(here.predict_proba(photos), tracked.predict_proba(photos))
    assert data.class_names == ("blue", "green", "red")


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda data: rm.load("folder:/nowhere"), "/nowhere"),
        (lambda data: rm.extract(data, "resnet81"), "did you mean 'resnet18'"),
        (lambda data: rm.extract(data, imagesize=64), "did you mean"),
        (lambda data: rm.fit(rm.extract(data, weights="random"), "svm", c=1), "valid parameters"),
        (lambda data: rm.fit(rm.extract(data, weights="random"), "knn").evaluate("train2"), "split must be one of"),
    ],
)
def test_mistakes_raise_the_line_of_the_command_line(call, rule, image_folder, cache_dir, monkeypatch):
    monkeypatch.setenv("RESNET_MLFLOW_CACHE", str(cache_dir))
    data = rm.load(f"folder:{image_folder}", image_size=32)
    with pytest.raises(InputError, match=re.escape(rule)):
        call(data)
