"""Exports of a classifier: files that agree with it and run without this project, or none at all."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.config import ExportConfig, FitHeadConfig, PredictConfig, PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.export import run_export
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, promoted_version

PROJECT = Path(__file__).parents[2]
MODEL = "models:/colours-classifier@champion"
# Lets a script import the standard library and what docs/deploy.md says it needs, nothing else of this environment.
ALONE = """
import sys, importlib.abc
ALLOWED = {"numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging", "openvino", "openvino_telemetry"}
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Only())
for name in ("torch", "mlflow", "pandas", "resnet_mlflow"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported")
sys.argv = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


@pytest.fixture(scope="module")
def champion(module_store, make_image_folder):
    """A folder of coloured images, and a run and a version whose classifier tells them apart."""
    folder = make_image_folder(Path.cwd())
    dataset = f"folder:{folder}"
    config = FitHeadConfig(dataset=dataset, head="prototype", image_size=32, weights="random", precision="fp32")
    run_id = run_fit_head(config).run_id
    run_promote(PromoteConfig(dataset=dataset, ood_keep=0.5))
    return folder, run_id


@pytest.fixture(scope="module")
def exported(champion):
    """What came of the champion in fp32, and the folder of its files."""
    measured = run_export(ExportConfig(model=MODEL, format="onnx,openvino", batch_size=5))
    (run,) = find_runs({"stage": "export"})
    return measured, run, Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/export"))


def scripts():
    """The scripts of docs/deploy.md, by what they import."""
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "deploy.md").read_text(), flags=re.DOTALL)
    return {name: next(b for b in blocks if f"numpy as np, {name}\n" in b) for name in ("onnxruntime", "openvino")}


def test_export_writes_what_agrees_in_every_image(champion, exported):
    measured, run, folder = exported
    assert list(measured) == ["classifier-fp32", "onnx-fp32", "openvino-fp32"]
    for name in ("onnx-fp32", "openvino-fp32"):
        parity = measured[name].parity
        assert (parity.n_images, parity.agreement, parity.answered_alike, parity.sets_alike) == (12, 1.0, 1.0, 1.0)
        assert parity.max_difference < 1e-4
        assert measured[name].latency_ms > 0
        assert measured[name].n_bytes == sum(file.stat().st_size for file in (folder / name).iterdir())
        assert run.data.metrics[f"export/{name}/agreement"] == 1.0
        assert run.data.metrics[f"export/{name}/size_mb"] == pytest.approx(measured[name].n_bytes / 1e6)
    assert run.data.tags["classifier_run"] == champion[1]
    assert (run.data.tags["model_name"], run.data.tags["model_version"]) == ("colours-classifier", "1")
    tags = promoted_version(MODEL).tags
    assert tags["export.onnx-fp32"].startswith(f"run {run.info.run_id}: 12 of 12 predictions alike, scores within ")
    assert "| openvino-fp32   | 1.0000 " in (folder / "parity.md").read_text()
    assert {path.name for path in folder.iterdir()} == {"onnx-fp32", "openvino-fp32", "parity.md", "parity.json"}


@pytest.fixture(scope="module")
def answers(champion):
    """A folder of test images and of odd ones, of other sizes, and what the classifier predicts of them."""
    folder = Path("asked")
    shutil.copytree(champion[0] / "test", folder)
    rng = np.random.default_rng(1)
    odd = {
        "black": np.zeros((50, 70, 3)),
        "white": np.full((90, 33, 3), 255),
        "noise": rng.integers(0, 256, (60, 60, 3)),
    }
    for name, pixels in odd.items():
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    run_predict(PredictConfig(images=str(folder), model=MODEL, output="answers.csv"))
    return folder.absolute(), pd.read_csv("answers.csv")


@pytest.mark.parametrize(
    ("runtime", "file"), [("onnxruntime", "onnx-fp32/model.onnx"), ("openvino", "openvino-fp32/model.xml")]
)
def test_scripts_of_the_docs_answer_as_predict_does(exported, answers, tmp_path, runtime, file):
    script, (folder, predicted) = tmp_path / "answer.py", answers
    script.write_text(scripts()[runtime])
    assert len(script.read_text().splitlines()) <= 20
    images = [folder / path for path in predicted["path"]]
    command = [sys.executable, "-c", ALONE, script, exported[2] / file, *images]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    paths, labels, scores, answered = zip(*(line.split() for line in ran.stdout.splitlines()), strict=True)
    assert list(paths) == [str(path) for path in images]
    assert list(labels) == predicted["label"].tolist()
    # Pillow and torch resize a picture of these sizes alike up to a level.
    assert [float(score) for score in scores] == pytest.approx(predicted["probability"].tolist(), abs=2e-3)
    assert [word == "True" for word in answered] == predicted["answered"].tolist()
    assert set(answered) == {"True", "False"}


def test_files_say_what_they_are(champion, exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported[2] / "onnx-fp32" / "model.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["resnet_mlflow"])
    assert about["class_names"] == ["blue", "green", "red"]
    assert (about["classifier_run"], about["precision"], about["opset"]) == (champion[1], "fp32", 18)
    assert about["outputs"] == ["scores", "label", "set", "answered", "unlike"]
    assert about["rules"]["unlike"]["score"] == "knn"
    assert 0 < about["rules"]["sets"]["least"] < 1
    content = (exported[2] / "onnx-fp32" / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert str(PROJECT).encode() not in content


def test_a_lossy_form_beyond_the_margin_leaves_nothing(champion):
    config = ExportConfig(run_id=champion[1], precision="fp32,int8", calibration_images=6)
    message = (
        r"onnx-int8 must lose at most margin=0.02 .* on 12 test images \(even without a loss, 189 would be needed\)"
    )
    with pytest.raises(InputError, match=message):
        run_export(config)
    (run,) = find_runs({"stage": "export"}, status="FAILED")
    assert not mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="export")
    assert "must lose at most" in run.data.tags["error"]
    # Twelve images show little: an interval that they can show.
    measured = run_export(config.model_copy(update={"margin": 0.5}))
    assert measured["onnx-int8"].n_bytes < 0.4 * measured["onnx-fp32"].n_bytes
    assert measured["onnx-int8"].parity.answered_alike is None, "a run has no rules"
    assert "export.onnx-int8" not in promoted_version(MODEL).tags


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"exactly one of model and run_id must be given, got none; pass model=models:/NAME@champion or run_id=ID"),
        ({"model": MODEL, "run_id": "x"}, r"exactly one of model and run_id must be given, got both"),
        ({"model": "models:/nobody@champion"}, r"a model must be a promoted version .* \(no such version\)"),
        (
            {"run_id": "export"},
            r"must come from a FINISHED run of fit_head, finetune, longtail, got run .* \(export, FIN",
        ),
    ],
)
def test_export_refuses_what_is_no_classifier(exported, given, message):
    if given.get("run_id") == "export":
        given = {"run_id": exported[1].info.run_id}
    with pytest.raises(InputError, match=message):
        run_export(ExportConfig(**given))
