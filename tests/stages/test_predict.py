"""Prediction of folders by a promoted classifier: one file with every answer, or none."""

import json
import os
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from resnet_mlflow.cli import parse
from resnet_mlflow.config import FitHeadConfig, PredictConfig, PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, load_predictions

MODEL = "models:/colours-classifier@champion"


@pytest.fixture(scope="module")
def champion(module_store, make_image_folder):
    """A folder of coloured images and the run whose classifier tells them apart, promoted."""
    folder = make_image_folder(Path.cwd())
    dataset = f"folder:{folder}"
    run_id = run_fit_head(FitHeadConfig(dataset=dataset, head="prototype", image_size=32, weights="random")).run_id
    run_promote(PromoteConfig(dataset=dataset))
    return folder, run_id


@pytest.fixture
def config(champion, tmp_path):
    return PredictConfig(images=str(champion[0] / "test"), model=MODEL, output=str(tmp_path / "answers.parquet"))


def test_predict_gives_the_runs_own_predictions(champion, config):
    predicted = run_predict(config)
    assert (predicted.n_images, predicted.bad) == (12, [])
    answers = pd.read_parquet(config.output)
    expected = ["path", "label", "probability", "set", "answered", "reason", "score_blue", "score_green", "score_red"]
    assert answers.columns.tolist() == expected
    assert all(label in json.loads(text) for label, text in zip(answers["label"], answers["set"], strict=True))
    assert set(answers["reason"][~answers["answered"]]) <= {"unlike training images", "too dark", "too bright"}
    assert set(answers["reason"][answers["answered"]]) <= {""}
    assert answers["path"].tolist()[:2] == ["blue/0.png", "blue/1.png"]
    logged = load_predictions(champion[1])
    assert sorted(answers["label"]) == sorted(logged.predictions)
    np.testing.assert_allclose(np.sort(answers["score_red"]), np.sort(logged.scores[:, 2]), atol=1e-6)
    np.testing.assert_array_equal(answers["probability"], answers.filter(like="score_").max(axis=1))


def test_predict_writes_the_same_to_csv(config):
    run_predict(config)
    as_csv = config.model_copy(update={"output": config.output.replace(".parquet", ".csv"), "batch_size": 5})
    run_predict(as_csv)
    pd.testing.assert_frame_equal(
        pd.read_csv(as_csv.output, keep_default_na=False), pd.read_parquet(config.output), check_dtype=False, atol=1e-6
    )


def test_predict_lists_bad_images_and_goes_on(config, image_folder, caplog):
    folder = image_folder
    (folder / "test" / "red" / "0.png").write_bytes(b"no image")
    (folder / "test" / "notes.txt").write_text("no image, and none by its name")
    predicted = run_predict(config.model_copy(update={"images": str(folder)}))
    assert predicted.n_images == 41
    assert [error.path.name for error in predicted.bad] == ["0.png"]
    assert "not predicted: " in caplog.text
    assert len(pd.read_parquet(config.output)) == 41
    run = find_runs({"stage": "predict"})[0]
    assert run.data.metrics["n_bad_images"] == 1
    bad = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/bad_images.json")["bad_images"]
    assert json.dumps(bad).count("not an image format that PIL knows") == 1


def test_predict_lists_damage_strange_names_and_what_is_no_file(config, image_folder):
    red = image_folder / "test" / "red"
    flipped = bytearray((red / "0.png").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (red / "0.png").write_bytes(flipped)
    (red / os.fsdecode(b"caf\xe9.png")).write_bytes((red / "1.png").read_bytes())
    (red / "line\nbreak.png").write_bytes((red / "1.png").read_bytes())
    (red / "state").symlink_to("/proc")
    (red / "up").symlink_to("..")
    predicted = run_predict(config.model_copy(update={"images": str(image_folder), "max_pixels": 40 * 48}))
    assert predicted.n_images == 42
    reasons = {error.path.name: error.reason for error in predicted.bad}
    assert reasons == {
        "0.png": "the checksum of its chunk at byte 33 is wrong",
        "caf\\udce9.png": "its name is not UTF-8; rename it",
        "state": "the folder cannot be read",
    }
    limited = run_predict(config.model_copy(update={"images": str(red), "max_pixels": 40 * 48 - 1}))
    assert limited.n_images == 0
    assert "48 x 40 pixels exceed max_pixels=1919" in limited.bad[1].reason


def test_predict_leaves_the_earlier_file_where_it_fails(champion, config, tmp_path, monkeypatch):
    run_predict(config)
    before = Path(config.output).read_bytes()
    (tmp_path / "unreadable").mkdir()
    blocked = config.model_copy(update={"output": str(tmp_path / "missing" / "a.csv")})
    with pytest.raises(InputError, match=r"output must be a writable file, got .*No such folder"):
        run_predict(blocked)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_mlflow.stages.predict._table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_predict(config)
    assert Path(config.output).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.parquet", "unreadable"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"images": "/proc"}, "images must be an existing folder on a disk, got /proc, a system folder"),
        (
            {"images": "~nobody-here/x"},
            "images must be a path, got '~nobody-here/x'",
        ),
        ({"output": "~nobody-here/x.csv"}, "output must be a path, got '~nobody-here/x.csv'"),
        ({"images": "nowhere"}, "images must be an existing folder, got nowhere"),
        ({"model": "models:/fish-classifier@champion"}, "a model must be a promoted version in .*no such version"),
        ({"model": "models:/colours-classifier/9"}, "a model must be a promoted version in .*no such version"),
    ],
)
def test_predict_refuses_in_one_line(config, changed, line):
    with pytest.raises(InputError, match=line):
        run_predict(config.model_copy(update=changed))


def test_predict_refuses_a_folder_without_images(config, tmp_path):
    with pytest.raises(InputError, match="images must be a folder with image files, got none in"):
        run_predict(config.model_copy(update={"images": str(tmp_path)}))


def test_predict_refuses_an_output_of_another_kind():
    with pytest.raises(InputError, match=r"output must end in \.parquet or \.csv, got 'answers\.xlsx'"):
        parse(PredictConfig, ["--output", "answers.xlsx"])
