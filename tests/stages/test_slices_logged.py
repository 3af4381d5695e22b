"""Slices through the stages: from the columns of a table to metrics, predictions, the report and promotion."""

import csv
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.runs import load_runs
from analysis.tables import TABLES
from resnet_mlflow.config import FitHeadConfig, PromoteConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.stages.slices import slice_columns
from resnet_mlflow.tracking import load_predictions


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 80 training and 60 test images; those of the site ``fog: 1/2`` tell nothing of their class."""
    root, rng = tmp_path_factory.mktemp("fields"), np.random.default_rng(0)
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "site", "one", "number", "camera"])
        for number in range(140):
            label, foggy = number % 2, number % 10 < 3
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., 0 if foggy else label] += 130
            Image.fromarray(pixels).save(root / f"{number}.png")
            split = "train" if number < 80 else "test"
            site, camera = "fog: 1/2" if foggy else "clear", ("a", "b", "")[number % 3]
            writer.writerow([f"{number}.png", ("red", "green")[label], split, site, "same", number, camera])
    return root / "list.csv"


def test_slice_columns_are_those_of_few_values(fields, tmp_path):
    dataset = load_dataset(f"table:{fields}", data_dir=tmp_path)
    assert slice_columns(dataset) == ("site", "camera")
    assert slice_columns(dataset, "site") == ("camera",)
    assert slice_columns(load_dataset("digits", data_dir=tmp_path)) == ()


def test_slices_are_scored_logged_reported_and_demanded(module_store, fields):
    options = {"dataset": f"table:{fields}", "weights": "random"}
    outcomes = [run_fit_head(FitHeadConfig(**options, head="prototype", seed=seed)) for seed in (0, 1)]
    run = mlflow.get_run(outcomes[0].run_id)
    metrics, tags = run.data.metrics, run.data.tags
    assert metrics["test/slice/site/fog_ 1_2/n"] == 18
    assert metrics["test/slice/site/clear/accuracy"] > 0.9 > 0.75 > metrics["test/slice/site/fog_ 1_2/accuracy"]
    assert metrics["test/slice_worst_accuracy"] == metrics["test/slice/site/fog_ 1_2/accuracy"]
    assert metrics["test/slice/site/p_value"] < 0.01 < metrics["test/slice/camera/p_value"]
    assert metrics["test/slice/camera/a/accuracy_ci_low"] < metrics["test/slice/camera/a/accuracy"]
    assert (tags["worst_slice"], tags["slices"]) == ("site=fog: 1/2", "site,camera")
    assert "Worst slice: site=fog: 1/2, accuracy 0." in tags["mlflow.note.content"]
    assert "Slices of site differ" in tags["mlflow.note.content"]
    stored = load_predictions(run.info.run_id)
    assert set(stored.known) == {"path", "group", "split", "slice_site", "slice_camera"}
    foggy = stored.known["slice_site"] == "fog: 1/2"
    assert stored.correct[foggy].mean() == pytest.approx(metrics["test/slice/site/fog_ 1_2/accuracy"])
    root = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    table = pd.read_csv(root / "evaluation" / "test" / "slices.csv")
    assert table["n"].tolist() == [42, 18, 20, 20]

    frame = load_runs(mlflow.get_experiment(run.info.experiment_id).name).frame
    reported = TABLES["slices"](frame)
    assert reported.frame["value"].tolist() == ["clear", "fog: 1/2", "a", "b"]
    assert reported.frame["images"].tolist() == [42, 18, 20, 20]
    assert reported.frame["differ"].iloc[0] < 0.01
    assert "Worst slice, by the upper end of its interval: site=fog: 1/2" in reported.notes[1]

    promote = {"dataset": f"table:{fields}", "model_name": "fields", "slices": "not_lower"}
    first = run_promote(PromoteConfig(**promote, run_id=outcomes[0].run_id))
    assert first.decision.promote
    again = run_promote(PromoteConfig(**promote, run_id=outcomes[1].run_id, dry_run=True))
    assert "slices correct less often" in again.decision.reason or "correct less often on" in again.decision.reason


def test_demands_of_slices_need_slices(module_store, tmp_path):
    options = {"dataset": "digits", "weights": "random"}
    for head in ("prototype", "linear"):
        run_fit_head(FitHeadConfig(**options, head=head))
        promote = PromoteConfig(dataset="digits", slices="not_worse", model_name="none")
        if head == "prototype":
            assert run_promote(promote).decision.promote
    with pytest.raises(InputError, match="must find slices in the candidate's predictions, got none"):
        run_promote(promote)
