"""A shared store in which others have planted something: every stage refuses it in one line and runs nothing of it."""

import functools
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
import torch
import yaml
from pyarrow import parquet

from analysis.commands import typed_config
from analysis.separation import stored_predictions
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import ExtractConfig, FitHeadConfig, PredictConfig, PromoteConfig, RobustnessConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import seal_entry
from resnet_mlflow.stages.extract import run_extract
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.stages.robustness import run_robustness
from resnet_mlflow.tracking import download_backbone, find_runs

# With a seed of its own: the runs of this module must be those that make the features.
SMALL = {"weights": "random", "weights_seed": 13, "image_size": 16, "precision": "fp32"}
EXPLODED = "exploded"


class Exploding:
    def __reduce__(self):
        return os.system, (f"touch {EXPLODED}",)


def pickled(path):
    path.write_bytes(pickle.dumps(Exploding()))


def torch_pickled(path):
    torch.save({"weight": Exploding()}, path)


def zipped_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({"__loader__": "ObjectNode", "__class__": "x", "__module__": "y"}))
        archive.writestr("data.pkl", pickle.dumps(Exploding()))


def calling(path):
    skops.io.dump(functools.partial(os.system, f"touch {EXPLODED}"), path)


def packed(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 2**28)


def empty(path):
    path.write_bytes(b"")


def endless(path):
    path.symlink_to("/dev/zero")


def pipe(path):
    os.mkfifo(path)


def secret(path):
    path.symlink_to("/etc/passwd")


def looping(path):
    path.mkdir()
    (path / "again").symlink_to(path)


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)


def deep(path):
    path.write_text("[" * 100_000 + "]" * 100_000)


def aliases(path):
    path.write_text("a: &a [1]\n" + "b: [*a]\n")


def a_list(path):
    path.write_text("[1, 2]")


def leading_away(path):
    path.write_text(json.dumps({"dataset": "digits", "cache_dir": "../../x", "unknown": "../../x"}))


def many_cells(path):
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**20, np.int32)), ["x"])
    parquet.write_table(pa.table({"item_id": column, "label": column, "prediction": column}), path)


def other_columns(path):
    pd.DataFrame({"item_id": ["a"], "label": [1], "score_x": ["text"]}).to_parquet(path)


ANY = (empty, endless, pipe, secret, looping, huge, pickled)
BOMBS = {
    "head/model.skops": (*ANY, calling, zipped_pickle, packed),
    "config.json": (*ANY, deep, aliases, a_list, leading_away),
    "evaluation/test/predictions.parquet": (*ANY, deep, many_cells, other_columns),
}
CASES = [(path, bomb) for path, bombs in BOMBS.items() for bomb in bombs]


@pytest.fixture(scope="module")
def run_id(module_store):
    run_fit_head(FitHeadConfig(head="prototype", **SMALL))
    (run,) = find_runs({"stage": "fit_head"})
    return run.info.run_id


def place_of(run_id, path):
    """Where an artifact of a run, or of its model, lies on this disk."""
    run = mlflow.get_run(run_id)
    if not path.startswith("head/"):
        return Path(run.info.artifact_uri.removeprefix("file://")) / path
    model = mlflow.MlflowClient().get_logged_model(run.outputs.model_outputs[0].model_id)
    return Path(model.artifact_location.removeprefix("file://")) / path.removeprefix("head/")


@pytest.fixture
def planted(run_id, tmp_path, monkeypatch):
    """Plant a bomb in the place of an artifact; what was there comes back."""
    kept = {}

    def plant(path, bomb):
        place = place_of(run_id, path)
        kept[place] = place.with_name(f"{place.name}.kept")
        place.rename(kept[place])
        bomb(place)

    yield plant
    for place, aside in kept.items():
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
        aside.rename(place)


def refused(stage):
    with pytest.raises(InputError) as caught:
        stage()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1200
    assert not Path(EXPLODED).exists()
    return line


@pytest.mark.parametrize(("path", "bomb"), CASES)
def test_stages_refuse_what_was_planted_in_a_run(run_id, planted, path, bomb):
    planted(path, bomb)
    if path.startswith("evaluation"):
        refused(lambda: run_promote(PromoteConfig(run_id=run_id, dry_run=True)))
        refused(lambda: stored_predictions(run_id))
        return
    test = {"corruptions": "contrast", "severities": "1"}
    refused(lambda: run_robustness(RobustnessConfig(runs=run_id, **test)))
    refused(lambda: run_promote(PromoteConfig(run_id=run_id, model_name="bombed")))
    if path == "config.json" and bomb is not leading_away:
        refused(lambda: typed_config(run_id))


def test_load_config_of_a_foreign_machine_makes_no_folder_here(run_id, planted, tmp_path):
    def foreign(path):
        content = json.loads(path.with_name("config.json.kept").read_text())
        path.write_text(json.dumps(content | {"cache_dir": str(tmp_path / "x"), "data_dir": str(tmp_path / "y")}))

    planted("config.json", foreign)
    assert run_robustness(RobustnessConfig(runs=run_id, corruptions="contrast", severities="1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bomb", [*ANY, torch_pickled, calling, deep])
def test_weights_of_a_run_are_refused_where_something_else_lies(run_id, bomb, tmp_path):
    client = mlflow.MlflowClient()
    run = client.create_run("0", tags={"stage": "finetune"})
    place = place_of(run.info.run_id, "backbone/backbone.safetensors")
    place.parent.mkdir(parents=True)
    bomb(place)
    weights = f"runs:/{run.info.run_id}"
    refused(lambda: build_backbone("resnet18", resolve_weights("resnet18", weights, 0, download_backbone)))
    shutil.rmtree(place.parent)


def test_weights_of_a_run_are_refused_where_they_are_others(run_id, tmp_path):
    run = mlflow.MlflowClient().create_run("0", tags={"stage": "finetune", "backbone_digest": "0" * 16})
    place = place_of(run.info.run_id, "backbone/backbone.safetensors")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 100)
    assert "got another in run" in refused(lambda: download_backbone(f"runs:/{run.info.run_id}"))


@pytest.mark.parametrize("bomb", [torch_pickled, pickled, deep, empty])
@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_weights_files_run_nothing(tmp_path, monkeypatch, bomb, ending):
    monkeypatch.chdir(tmp_path)
    bomb(tmp_path / f"w{ending}")
    refused(lambda: build_backbone("resnet18", resolve_weights("resnet18", str(tmp_path / f"w{ending}"), 0)))


@pytest.fixture(scope="module")
def champion(run_id):
    run_promote(PromoteConfig(run_id=run_id, model_name="bombs"))
    version = mlflow.MlflowClient().get_model_version_by_alias("bombs", "champion")
    model = mlflow.MlflowClient().get_logged_model(version.source.removeprefix("models:/"))
    return Path(model.artifact_location.removeprefix("file://")) / "data" / "classifier"


@pytest.mark.parametrize("bomb", [*ANY, calling, torch_pickled, deep])
@pytest.mark.parametrize("name", ["head.skops", "backbone.safetensors", "classifier.json"])
def test_predict_refuses_what_was_planted_in_a_package(champion, image_folder, tmp_path, name, bomb):
    aside = champion.parent / "kept"
    (champion / name).rename(aside)
    try:
        bomb(champion / name)
        config = PredictConfig(model="models:/bombs@champion", images=str(image_folder), output=str(tmp_path / "o.csv"))
        refused(lambda: run_predict(config))
        assert not (tmp_path / "o.csv").exists()
    finally:
        if (champion / name).is_dir() and not (champion / name).is_symlink():
            shutil.rmtree(champion / name)
        else:
            (champion / name).unlink()
        aside.rename(champion / name)


def foreign_meta(folder, **change):
    meta = json.loads((folder / "meta.json").read_text())
    key = change.pop("features_key", meta["features_key"])
    seal_entry(folder, meta | change, key)


FEATURES = {
    "a key that is a path": lambda folder: foreign_meta(folder, features_key="../../../precious"),
    "a pickle": lambda folder: np.save(folder / "train.labels.npy", np.array([Exploding()]), allow_pickle=True),
    "an endless file": lambda folder: ((folder / "test.ids.npy").unlink(), endless(folder / "test.ids.npy")),
    "a file too large": lambda folder: huge(folder / "test.ids.npy"),
    "no JSON": lambda folder: deep(folder / "meta.json"),
    "links": lambda folder: looping(folder / "more"),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_extract_computes_what_others_have_spoilt(run_id, cache_dir, tmp_path, monkeypatch, kind):
    (made,) = find_runs({"stage": "extract"})[-1:]
    folder = place_of(made.info.run_id, "features")
    shutil.copytree(folder, tmp_path / "kept")
    try:
        FEATURES[kind](folder)
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").write_text("mine")
        features = run_extract(ExtractConfig(cache_dir=str(tmp_path / "a" / "b"), share_features=False, **SMALL))
        assert set(features.splits) == {"train", "test"}
        assert features.meta["worker"] != "somebody"
        assert (precious / "file").read_text() == "mine"
        assert not Path(EXPLODED).exists()
    finally:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept", folder)


def test_yaml_bombs_are_refused_by_every_stage_that_reads_yaml(module_store, tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"svm": {"C": [1]}}) + "x: &x [*x]\n")
    refused(lambda: run_fit_head(FitHeadConfig(head="svm", n_trials=1, search_space=str(tmp_path / "s.yaml"), **SMALL)))
    refused(lambda: run_fit_head(FitHeadConfig(head="svm", head_params="{C: &a [*a]}", **SMALL)))
