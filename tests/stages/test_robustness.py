"""The robustness stage in one process, with everything real: store, features, models, figures."""

import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig, RobustnessConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.results import ResultStore
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.stages.robustness import run_robustness
from resnet_mlflow.statistics import wilson_interval
from resnet_mlflow.tracking import find_runs, load_corrupted_predictions, load_predictions

QUICK = {"corruptions": "gaussian_noise,contrast,rotation", "severities": "mild,strong"}
N_CELLS = 6


@pytest.fixture
def cold(store, cache_dir, tmp_path, monkeypatch):
    """A cache folder without results, though with the features that other tests have made."""
    if (cache_dir / "features").exists():
        shutil.copytree(cache_dir / "features", tmp_path / "cold" / "features")
    monkeypatch.setenv("RESNET_MLFLOW_CACHE", str(tmp_path / "cold"))
    return tmp_path / "cold"


def config_of(**values: object) -> RobustnessConfig:
    return validate(RobustnessConfig, QUICK | values)


def child_of(classifier_run):
    (run,) = find_runs({"stage": "robustness", "classifier_run": classifier_run})
    return run


def parents():
    runs = find_runs({"stage": "robustness"}, status=None)
    return [run for run in runs if "classifier_run" not in run.data.tags]


def artifact(run, path):
    return Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{path}"))


def history(run, metric):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return {point.step: point.value for point in points}


def test_run_robustness_logs_what_the_schema_promises(cold, capsys):
    ids = [run_fit_head(FitHeadConfig(head=head)).run_id for head in ("linear", "prototype")]
    assert run_robustness(config_of(runs=",".join(ids), reference_run=ids[1]))
    (parent,) = parents()
    run, fitted = child_of(ids[0]), mlflow.get_run(ids[0])
    assert (parent.info.status, run.info.status) == ("FINISHED", "FINISHED")
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == parent.info.run_id
    for name in ("dataset", "dataset_digest", "features_key", "head", "backbone", "seed", "weights"):
        assert tags[name] == fitted.data.tags[name]
    assert (tags["constants_resolution"], tags["corruption_size"], tags["n_images"]) == ("32", "32", "359")
    metrics = run.data.metrics
    assert metrics["robustness/clean/accuracy"] == fitted.data.metrics["test/accuracy"]
    accuracy = history(run, "robustness/contrast/accuracy")
    assert accuracy.keys() == {1, 5}
    # A little contrast less costs nothing here.
    assert accuracy[5] < min(accuracy[1], metrics["robustness/clean/accuracy"])
    noise = history(run, "robustness/gaussian_noise/accuracy")
    assert metrics["robustness/mild/accuracy"] == pytest.approx((accuracy[1] + noise[1]) / 2)
    assert metrics["robustness/mean/accuracy"] == pytest.approx(sum([*accuracy.values(), *noise.values()]) / 4)
    low = wilson_interval(round(accuracy[5] * 359), 359)[0]
    assert history(run, "robustness/contrast/accuracy_ci_low")[5] == pytest.approx(low)
    assert {"robustness/mild/consistency", "robustness/strong/ece", "robustness/geometric/accuracy"} <= metrics.keys()
    assert "robustness/mce" not in metrics, "two corruptions are not the benchmark"
    predicted = load_corrupted_predictions(run.info.run_id)
    assert len(predicted.columns) == 4 + N_CELLS
    assert (predicted["contrast 5"].astype(str) == predicted["label"].astype(str)).mean() == pytest.approx(accuracy[5])
    assert predicted["clean"].tolist() == load_predictions(ids[0]).predictions.tolist()
    assert predicted["item_id"].tolist() == load_predictions(ids[0]).item_ids.tolist()
    for name in ("severity_curves", "heat_map"):
        assert artifact(run, f"figures/{name}.png").stat().st_size > 10_000
    cells = pd.read_csv(artifact(run, "robustness/cells.csv"))
    assert len(cells) == N_CELLS
    table = pd.read_csv(artifact(parent, "comparison.csv"))
    assert set(table["classifier"]) == {"linear resnet18", "prototype resnet18"}
    for name in ("pictures", "tiers", "severity_curves"):
        assert artifact(parent, f"figures/{name}.png").stat().st_size > 10_000
    assert "| linear resnet18 " in capsys.readouterr().out


def test_classifiers_together_get_the_numbers_they_get_alone(cold):
    ids = [run_fit_head(FitHeadConfig(head=head)).run_id for head in ("prototype", "knn")]
    run_robustness(config_of(runs=ids[0]))
    alone = child_of(ids[0]).data.metrics
    shutil.rmtree(cold / "robustness")
    config = config_of(filter="tags.dataset = 'digits'", batch_size=50, num_workers=0)
    run_robustness(config)
    assert child_of(ids[0]).data.metrics == alone, "the run of before stands for it"
    keys = sorted(folder.name for folder in (cold / "robustness").iterdir())
    store = ResultStore(cold)
    together = [store.get(key, ids[0]).predictions for key in keys]
    assert len(together) == N_CELLS + 1
    predicted = load_corrupted_predictions(child_of(ids[0]).info.run_id)
    names = [column for column in predicted if column not in ("item_id", "path", "label")]
    logged = {tuple(predicted[name].cat.codes) for name in names}
    assert {tuple(row) for row in together} == logged
    assert child_of(ids[1]).data.metrics["robustness/mean/accuracy"] > 0.3


def test_a_killed_test_continues_with_the_cells_that_are_missing(cold, monkeypatch, caplog):
    caplog.set_level("INFO")
    run_id = run_fit_head(FitHeadConfig(head="prototype")).run_id
    put, kept = ResultStore.put, []

    def put_until_killed(self, key, classifier, result):
        if len(kept) == 4:
            raise KeyboardInterrupt
        kept.append(self.path(key, classifier))
        put(self, key, classifier, result)

    monkeypatch.setattr(ResultStore, "put", put_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run_robustness(config_of(runs=run_id))
    monkeypatch.setattr(ResultStore, "put", put)
    (killed,) = parents()
    assert killed.info.status == "KILLED"
    written = {path: path.stat().st_mtime_ns for path in kept}
    assert run_robustness(config_of(runs=run_id))
    (parent,) = parents()
    assert (parent.info.run_id, parent.info.status) == (killed.info.run_id, "FINISHED")
    assert {path: path.stat().st_mtime_ns for path in kept} == written
    assert "[2/6] gaussian_noise (finished before)" in caplog.text
    assert len(list((cold / "robustness").glob("*/*.npz"))) == N_CELLS + 1
    assert child_of(run_id).info.status == "FINISHED"


def test_stored_features_serve_later_classifiers(cold, monkeypatch):
    first = run_fit_head(FitHeadConfig(head="prototype")).run_id
    run_robustness(config_of(runs=first, store_features=True))
    later = run_fit_head(FitHeadConfig(head="knn")).run_id
    monkeypatch.setattr("resnet_mlflow.stages.robustness_sweeps.compute_features", None)
    assert run_robustness(config_of(runs=later))
    assert child_of(later).data.metrics["robustness/mean/accuracy"] > 0.3


def test_long_tail_classifiers_are_scored_by_class_size(cold):
    tail = {"imbalance_factor": 20, "seeds": "0", "methods": "tau_norm", "head_params": "{epochs: 4}"}
    assert run_longtail(validate(LongtailConfig, tail))
    (run,) = find_runs({"stage": "longtail", "method": "tau_norm"})
    assert run_robustness(config_of(runs=run.info.run_id, corruptions="contrast"))
    child = child_of(run.info.run_id)
    metrics = child.data.metrics
    for name in ("many", "medium", "few"):
        assert metrics[f"robustness/clean/accuracy_{name}"] == pytest.approx(run.data.metrics[f"test/accuracy_{name}"])
    assert metrics["robustness/strong/accuracy_few"] < metrics["robustness/clean/accuracy_few"]
    assert child.data.tags["method"] == "tau_norm"


def test_a_sample_is_stratified_and_says_what_it_costs(cold, capsys):
    run_id = run_finetune(FinetuneConfig(train_layers="layer4", epochs=1)).run_id
    assert run_robustness(config_of(runs=run_id, corruptions="fog", max_images=100))
    child = child_of(run_id)
    assert child.data.tags["n_images"] == "100"
    counts = load_corrupted_predictions(child.info.run_id)["label"].value_counts()
    assert counts.min() >= 9
    assert "A stratified sample of 100 of 359 images" in capsys.readouterr().out
    assert child.data.tags["train_layers"] == "layer4"


def test_reference_may_be_a_run_that_was_tested_before(cold):
    ids = [run_fit_head(FitHeadConfig(head=head)).run_id for head in ("prototype", "knn")]
    full = {"corruptions": "contrast", "severities": "1,2,3,4,5"}
    with pytest.raises(InputError, match=f"reference_run must have been tested .* got {ids[0]}.* add it to runs"):
        run_robustness(config_of(**full, runs=ids[1], reference_run=ids[0]))
    run_robustness(config_of(runs=ids[0], corruptions="contrast"))
    with pytest.raises(InputError, match=r"lacks 3 cells \(contrast 2, contrast 3, contrast 4"):
        run_robustness(config_of(**full, runs=ids[1], reference_run=ids[0]))
    run_robustness(config_of(**full, runs=ids[0]))
    assert run_robustness(config_of(**full, runs=ids[1], reference_run=ids[0]))
    of_reference = find_runs({"stage": "robustness", "classifier_run": ids[0], "severities": "1,2,3,4,5"})[0]
    errors = [
        1 - np.array(list(history(run, "robustness/contrast/accuracy").values()))
        for run in (child_of(ids[1]), of_reference)
    ]
    assert child_of(ids[1]).data.metrics["robustness/contrast/ce"] == pytest.approx(errors[0].sum() / errors[1].sum())


def test_robustness_refuses_classifiers_of_two_datasets(cold, image_folder):
    digits = run_fit_head(FitHeadConfig(head="prototype")).run_id
    colours = run_fit_head(FitHeadConfig(dataset=f"folder:{image_folder}", head="prototype", image_size=32)).run_id
    with pytest.raises(
        InputError, match=r"digits with classes \[0, 1, .*\] .*colours with classes \[blue, green, red\]"
    ):
        run_robustness(config_of(runs=f"{digits},{colours}"))
    small = image_folder / "test" / "red" / "0.png"
    Image.open(small).resize((12, 12)).save(small)
    again = run_fit_head(FitHeadConfig(dataset=f"folder:{image_folder}", head="prototype", image_size=32)).run_id
    with pytest.raises(InputError, match=r"at least 16 pixels on the shorter side, got 12 in .*0\.png"):
        run_robustness(config_of(runs=again))
    assert parents() == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "exactly one of model, runs, filter must be given, got none"),
        ({"filter": "tags.dataset = 'birds'"}, "filter must match a FINISHED run of fit_head, .* matches 0 runs"),
        ({"filter": "tags.dataset >"}, "filter must be valid in MLflow"),
        ({"runs": "0" * 32}, "run_id must name a run of"),
        ({"model": "models:/none@champion"}, "a model must be a promoted version"),
        ({"runs": "x", "corruptions": "smog"}, "corruptions must be among .*'smog'; did you mean 'fog'"),
        ({"runs": "x", "severities": "6"}, "severity must be 1, 2, 3, 4 or 5, got 6"),
    ],
)
def test_robustness_refuses_in_one_line(store, values, line):
    with pytest.raises(InputError, match=line) as caught:
        run_robustness(config_of(**values))
    assert "\n" not in str(caught.value)
    assert parents() == []
