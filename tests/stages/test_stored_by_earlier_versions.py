"""Heads and a promoted classifier that version 0.1.0 stored, before its modules moved, load and answer as they did.

The archive is a store of that version: five heads and a long tail on 36 coloured images, the svm promoted. The backbone
of the package is left out, as its 45 MB are random numbers of seed 0, which are made anew here.
"""

import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from resnet_mlflow.backbones.networks import build_backbone, save_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.config import MonitorConfig, PredictConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import partition
from resnet_mlflow.heads import head_class
from resnet_mlflow.longtail.adjusted import AdjustedHead
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.monitor import run_monitor
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.tracking import find_runs, load_predictions

ARCHIVE = Path(__file__).with_name("stored-by-0.1.0.zip")
MADE_IN = "/stored"  # the folder of that store, which its database names


@pytest.fixture(scope="module")
def earlier(use_store, tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("earlier")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    _move_store(folder)
    with use_store(folder):
        (package,) = folder.glob("mlruns/*/models/*/artifacts/data/classifier")
        random = ResolvedWeights("random-seed0", "random-seed0", seed=0)
        save_backbone(build_backbone("resnet18", random), package / "backbone.safetensors")
        yield folder


def _move_store(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for _, column, *_ in database.execute(f"pragma table_info({table})").fetchall():
                changed = f"update {table} set {column} = replace({column}, ?, ?) where {column} like ?"
                database.execute(changed, (MADE_IN, str(folder), f"%{MADE_IN}%"))
        database.commit()
    for file in folder.glob("mlruns/**/*"):
        if file.suffix in (".json", ".yaml") or file.name == "MLmodel":
            file.write_text(file.read_text().replace(MADE_IN, str(folder)))


@pytest.mark.parametrize("head", ["svm", "knn", "mlp", "prototype", "linear", "adjusted"])
def test_heads_answer_as_they_did(earlier, head):
    adjusted = {"stage": "longtail", "head": "knn", "method": "logit_adjust_posthoc"}
    run = find_runs(adjusted if head == "adjusted" else {"stage": "fit_head", "head": head})[0]
    classifier = load_classifier(run.info.run_id, {"dataset": f"folder:{earlier / 'colours'}"})
    test = partition(ensure_features(classifier.config, classifier.inputs), 0.2, 0)["test"]
    then = load_predictions(run.info.run_id)

    order, order_then = test.item_ids.argsort(), then.item_ids.argsort()
    scores = classifier.head.predict_proba(test.features)[order]
    np.testing.assert_allclose(scores, then.scores[order_then], atol=1e-4)
    assert isinstance(classifier.head, AdjustedHead if head == "adjusted" else head_class(head))


def test_a_promoted_classifier_answers_as_it_did(earlier):
    (run,) = find_runs({"stage": "fit_head", "head": "svm"})
    then = load_predictions(run.info.run_id)
    predicted = run_predict(
        PredictConfig(
            images=str(earlier / "colours" / "test"),
            model="models:/old@champion",
            output=str(earlier / "answers.csv"),
        )
    )
    assert predicted.n_images == 12
    answers = pd.read_csv(earlier / "answers.csv")
    assert sorted(answers["label"]) == sorted(then.predictions)
    np.testing.assert_allclose(np.sort(answers["probability"]), np.sort(then.scores.max(axis=1)), atol=1e-4)
    assert mlflow.models.get_model_info("models:/old@champion").flavors["python_function"]["loader_module"] == (
        "resnet_mlflow.serving"
    )


def test_a_classifier_without_a_reference_is_not_monitored(earlier):
    with pytest.raises(InputError, match=r"must have a reference .* got none in models:/old/1, .*; promote it again"):
        run_monitor(MonitorConfig(source=str(earlier / "colours"), model="models:/old@champion"))
