"""Looks at batches of digits: real runs, a real registry, a report, and what is refused."""

import base64
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.config import FitHeadConfig, MonitorConfig, PredictConfig, PromoteConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.monitor import run_monitor
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, get_run, version_with_alias

# Test images of digits in an order of no meaning.
ORDER = np.random.default_rng(1).permutation(359)


@pytest.fixture(scope="module")
def champion(module_store):
    """The run of a promotion that measured power curves."""
    run_id = run_fit_head(FitHeadConfig(head="prototype", weights="random")).run_id
    run_promote(PromoteConfig())
    run_promote(PromoteConfig(power_curve=True, power_corruptions="contrast,jpeg_compression", power_images=100))
    return find_runs({"stage": "promote", "candidate": run_id})[0]


@pytest.fixture(scope="module")
def folders(champion):
    """Folders of test images: two weeks without change, one of half the light."""
    split = load_digits().splits["test"]

    def write(name, rows, light=1.0):
        folder = Path.cwd() / name
        folder.mkdir()
        for row in rows.tolist():
            Image.fromarray((split.read_image(row) * light).astype(np.uint8)).save(folder / f"{row}.png")
        return folder

    rows = {"first": ORDER[:60], "second": ORDER[60:100], "dark": ORDER[100:140]}
    return {name: write(name, own, 0.5 if name == "dark" else 1.0) for name, own in rows.items()}


def report_of(look):
    folder = Path(mlflow.artifacts.download_artifacts(run_id=look.run_id, artifact_path="monitor"))
    return json.loads((folder / "report.json").read_text()), (folder / "report.html").read_text()


def test_looks_are_numbered_and_the_same_images_are_no_new_look(folders, tmp_path):
    first, second = (run_monitor(MonitorConfig(source=str(folders[name]))) for name in ("first", "second"))
    shutil.copytree(folders["first"], tmp_path / "again")
    again = run_monitor(MonitorConfig(source=str(tmp_path / "again")))
    assert [look.number for look in (first, second, again)] == [1, 2, 1]
    assert [look.alert for look in (first, second, again)] == [False] * 3
    assert again.changes == first.changes
    run = get_run(second.run_id)
    assert run.data.metrics["monitor/level"] == pytest.approx(0.05 / 6)
    expected = {"stage": "monitor", "alert": "false", "look": "2", "model_version": "1", "reason": "no change noticed"}
    assert expected.items() <= run.data.tags.items()
    assert run.info.run_name == "monitor digits-classifier v1 look 2"
    assert run.data.metrics["n_images"] == 40


def test_a_look_counts_whatever_status_its_run_is_given(folders, tmp_path):
    batch = tmp_path / "third"
    shutil.copytree(folders["second"], batch)
    next(batch.iterdir()).unlink()
    look = run_monitor(MonitorConfig(source=str(batch)))
    # As `mlflow run` does after exit code 3.
    mlflow.MlflowClient().set_terminated(look.run_id, "FAILED")
    next(batch.iterdir()).unlink()
    with mlflow.start_run() as foreign:  # with a number that is none
        mlflow.set_tags(get_run(look.run_id).data.tags | {"look": "many"})
    assert foreign.info.run_id != look.run_id
    assert run_monitor(MonitorConfig(source=str(batch))).number == look.number + 1


def test_dark_images_alert(folders, caplog):
    with caplog.at_level("INFO"):
        look = run_monitor(MonitorConfig(source=str(folders["dark"]), thumbnails=5, false_alarms=0.01))
    assert look.alert
    noticed = {change.name for change in look.changes if change.noticed}
    assert {"features", "brightness", "contrast"} <= noticed
    run = get_run(look.run_id)
    assert run.data.tags["alert"] == "true"
    assert run.data.tags["reason"].startswith("ALERT: changed features, ")
    assert run.info.status == "FINISHED"
    assert "\n| brightness   | " in run.data.tags["mlflow.note.content"]
    assert f"artifact monitor/report.html of run {look.run_id}" in caplog.text
    report, page = report_of(look)
    assert (report["alert"], report["n_images"], report["n_reference"]) == (True, 40, 287)
    assert len(report["images"]) == 5
    assert page.count("data:image/jpeg;base64,") == 5
    assert page.count("data:image/svg+xml;base64,") == len(look.changes)
    assert "http" not in page.replace("http-equiv", "")
    assert "Measured at promotion" in page
    figure = base64.b64decode(page.split("data:image/svg+xml;base64,")[1].split('"')[0]).decode()
    assert "<svg" in figure


def test_power_curves_are_an_artifact_and_a_tag(champion):
    found = mlflow.artifacts.load_dict(f"{champion.info.artifact_uri}/power_curve.json")
    version = version_with_alias("digits-classifier", "champion")
    assert version.tags["power_curve"] == found["sentence"]
    assert found["false_alarms"]["batches"] == 200
    assert found["false_alarms"]["alarms"] <= 14
    by_cell = {(one["corruption"], one["severity"]): one for one in found["curves"]}
    assert list(by_cell) == [(name, severity) for name in ("contrast", "jpeg_compression") for severity in (1, 3, 5)]
    assert by_cell["contrast", 5]["noticed_from"] == 10
    assert by_cell["jpeg_compression", 1]["noticed_from"] is None
    assert champion.data.metrics["power/contrast_5"] == 10
    assert version.version == 1, "measured later, without a new package"


def test_a_file_of_predictions_is_compared_by_answers(folders, tmp_path):
    output = str(tmp_path / "answers.csv")
    run_predict(PredictConfig(images=str(folders["dark"]), output=output))
    look = run_monitor(MonitorConfig(source=output))
    assert [change.name for change in look.changes] == ["confidence", "class shares"]
    report, page = report_of(look)
    assert report["batch"] == f"predictions in 1 file of {output}"
    assert "Thumbnails are missing because the batch is a file of predictions" in page
    assert "data:image/jpeg" not in page
    with pytest.raises(InputError, match=r"got 0 \(40 are unreadable, such as .*first.*: .*\); wait for more"):
        run_monitor(MonitorConfig(source=output, images=str(folders["first"])))
    with_images = run_monitor(MonitorConfig(source=output, images=str(folders["dark"])))
    by_folder = run_monitor(MonitorConfig(source=str(folders["dark"])))
    assert with_images.alert
    assert {one.name: one.p_value for one in with_images.changes} == pytest.approx(
        {one.name: one.p_value for one in by_folder.changes}
    )


def test_images_that_cannot_be_read_are_counted(folders, tmp_path):
    batch = tmp_path / "batch"
    shutil.copytree(folders["second"], batch)
    (batch / "broken.png").write_bytes(b"no image")
    look = run_monitor(MonitorConfig(source=str(batch), max_images=41))
    report, _ = report_of(look)
    assert (report["n_images"], report["n_bad"]) == (40, 1)
    assert list(report["bad_images"]) == [str(batch / "broken.png")]
    drawn, _ = report_of(run_monitor(MonitorConfig(source=str(folders["second"]), max_images=20)))
    assert drawn["n_images"] == 20
    assert drawn["batch"].endswith("20 of 40 drawn at random")


def test_what_cannot_be_monitored_is_refused(champion, folders, tmp_path, image_folder):
    n_runs = len(find_runs({"stage": "monitor"}, status=None))
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(next(folders["first"].iterdir()), one)
    (tmp_path / "empty").mkdir()
    frame = pd.DataFrame({"label": ["red"] * 20, "score_red": 1.0, "score_blue": 0.0})
    frame.to_csv(tmp_path / "colours.csv", index=False)
    source = str(folders["first"])
    client = mlflow.MlflowClient()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "runs:/0/model")
    data = {"dataset": f"folder:{image_folder}", "image_size": 32, "weights": "random"}
    run_id = run_fit_head(FitHeadConfig(head="prototype", **data)).run_id
    run_promote(PromoteConfig(dataset=data["dataset"], run_id=run_id, model_name="few"))
    for given, line in (
        (
            {"source": str(one)},
            "a batch must have at least 10 images, got 1; wait for more, or use a longer time window",
        ),
        (
            {"source": source, "images": source},
            "images may be given only if source contains predictions, got images of ",
        ),
        ({"source": str(tmp_path / "empty")}, "source must contain images or predictions .* got neither in "),
        ({"source": str(tmp_path / "colours.csv")}, "predictions must have the model's classes, .* got .*'red', 'blu"),
        (
            {"source": source, "model": "models:/foreign/1"},
            "a model must be a promoted version in .* has no tag run_id",
        ),
        (
            {"source": source, "model": f"runs:/{run_id}/head"},
            "a model must be a promoted version in .*no such version",
        ),
        ({"source": source, "model": "models:/few@champion"}, "a reference of at least 20 held-out images .* got none"),
    ):
        with pytest.raises(InputError, match=line):
            run_monitor(MonitorConfig(**given))
    assert len(find_runs({"stage": "monitor"}, status=None)) == n_runs


def test_unknown_corruptions_are_refused_before_anything_is_done(champion):
    n_runs = len(find_runs({"stage": "promote"}, status=None))
    with pytest.raises(InputError, match=r"corruptions must be among .* got 'fogg'; did you mean 'fog'"):
        run_promote(PromoteConfig(power_curve=True, power_corruptions="fogg"))
    assert len(find_runs({"stage": "promote"}, status=None)) == n_runs


def test_a_damaged_reference_is_refused(champion, folders):
    run_promote(PromoteConfig(model_name="damaged"))
    version = version_with_alias("damaged", "champion")
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/damaged/{version.version}")) / "data" / "classifier"
    (folder / "reference.json").write_text('{"class_names": ["a"], "gamma": 1}')
    with pytest.raises(InputError, match=r"must contain reference\.json .* \(other classes\); promote it again"):
        run_monitor(MonitorConfig(source=str(folders["first"]), model="models:/damaged@champion"))
