"""The stages in one process, on digits, with everything real: store, features, models."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.config import ExtractConfig, FinetuneConfig, FitHeadConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.extract import run_extract
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.tracking import find_runs, load_head


def artifacts_of(run_id):
    root = Path(mlflow.artifacts.download_artifacts(run_id=run_id))
    return root, sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("head", ["svm", "knn", "mlp", "prototype", "linear"])
def test_fit_head_logs_what_the_schema_promises(store, head):
    outcome = run_fit_head(FitHeadConfig(head=head))
    run = mlflow.get_run(outcome.run_id)
    assert run.info.run_name == f"{head} resnet18 s0"
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    digest = load_dataset("digits", data_dir=Path("unused")).digest
    assert {
        "stage": "fit_head",
        "dataset": "digits",
        "dataset_digest": digest,
        "backbone": "resnet18",
    }.items() <= tags.items()
    assert {"weights", "head", "features_key", "cache_key", "seed", "mlflow.note.content"} <= tags.keys()
    metrics = run.data.metrics
    for split in ("val", "test"):
        names = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "top5_accuracy", "accuracy_ci_low")
        assert {f"{split}/{name}" for name in names} <= metrics.keys()
        assert metrics[f"{split}/accuracy_ci_low"] < metrics[f"{split}/accuracy"] < metrics[f"{split}/accuracy_ci_high"]
    assert metrics["test/accuracy"] > 0.7
    assert metrics["time/fit_s"] > 0
    low, high = (metrics[f"test/accuracy_ci_{end}"] for end in ("low", "high"))
    assert tags["accuracy"].endswith(f"test {metrics['test/accuracy']:.3f} ({low:.3f} to {high:.3f})")
    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.name == f"{head} resnet18"
    # What takes no part is not among the parameters.
    assert {"head", "seed", "precision", "calibration"} <= run.data.params.keys()
    assert run.data.params.keys().isdisjoint(
        {"shots", "n_trials", "sampler", "folds", "group_by", "cache_dir", "device"}
    )
    root, files = artifacts_of(outcome.run_id)
    for split in ("val", "test"):
        for name in (
            "confusion_matrix.png",
            "confusion_matrix.json",
            "classification_report.json",
            "predictions.parquet",
        ):
            assert f"evaluation/{split}/{name}" in files
    assert "figures/confused_pairs.png" in files
    counts = np.array(json.loads((root / "evaluation/test/confusion_matrix.json").read_text())["counts"])
    assert np.trace(counts) / counts.sum() == pytest.approx(metrics["test/accuracy"])
    predictions = pd.read_parquet(root / "evaluation/test/predictions.parquet")
    assert (predictions["label"] == predictions["prediction"]).mean() == pytest.approx(metrics["test/accuracy"])
    contexts = {entry.tags[0].value: entry.dataset.name for entry in run.inputs.dataset_inputs}
    assert contexts == {"training": "digits-train", "validation": "digits-val", "testing": "digits-test"}


def test_fit_head_links_metrics_to_dataset_and_model(store):
    outcome = run_fit_head(FitHeadConfig(head="prototype"))
    (output,) = mlflow.get_run(outcome.run_id).outputs.model_outputs
    linked = {metric.key: metric.dataset_name for metric in mlflow.get_logged_model(output.model_id).metrics}
    assert linked["test/accuracy"] == "digits-test"
    assert linked["val/nll"] == "digits-val"


def test_fit_head_gives_the_same_numbers_again(store):
    config = FitHeadConfig(head="mlp", head_params="{epochs: 3}")
    first, second = run_fit_head(config), run_fit_head(config)
    assert first.run_id != second.run_id
    scores = [{k: v for k, v in run.metrics.items() if not k.startswith("time/")} for run in (first, second)]
    assert scores[0] == scores[1]
    other = run_fit_head(config.model_copy(update={"seed": 1}))
    assert other.metrics["val/nll"] != first.metrics["val/nll"]


def test_fit_head_model_is_the_head_that_was_judged(store):
    outcome = run_fit_head(FitHeadConfig(head="linear"))
    (output,) = mlflow.get_run(outcome.run_id).outputs.model_outputs
    features = run_extract(ExtractConfig()).splits["test"]
    head = load_head(f"models:/{output.model_id}")
    accuracy = np.mean(head.predict(features.features) == features.labels)
    assert accuracy == pytest.approx(outcome.metrics["test/accuracy"])


def test_fit_head_draws_attention_maps(store):
    outcome = run_fit_head(FitHeadConfig(head="linear", attention_maps=2))
    _, files = artifacts_of(outcome.run_id)
    assert "figures/attention_maps.png" in files


def test_fit_head_refuses_unknown_head_parameters_before_a_run(store):
    with pytest.raises(InputError, match="c"):
        run_fit_head(FitHeadConfig(head="svm", head_params="{c: 1}"))
    assert find_runs({"stage": "fit_head"}, status=None) == []


def test_extract_logs_features_as_artifacts_once(store, tmp_path):
    config = ExtractConfig(cache_dir=str(tmp_path / "cache"))
    run_extract(config)
    run_extract(config)
    runs = find_runs({"stage": "extract"})
    shared = {run.info.run_id: run.data.tags["shared_features"] for run in runs}
    assert sorted(shared.values()) == ["false", "true"]
    first = next(run_id for run_id, value in shared.items() if value == "true")
    _, files = artifacts_of(first)
    assert {"features/meta.json", "features/train.features.npy", "features/test.labels.npy"} <= set(files)


def test_finetune_of_fc_trains_on_stored_features(store):
    outcome = run_finetune(FinetuneConfig(epochs=3, learning_rate=0.01))
    run = mlflow.get_run(outcome.run_id)
    assert run.data.tags["train_layers"] == "fc"
    history = mlflow.MlflowClient().get_metric_history(outcome.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2, 3]
    assert history[2].value < history[0].value
    _, files = artifacts_of(outcome.run_id)
    assert "figures/learning_curves.png" in files
    assert "backbone/backbone.safetensors" not in files, "the backbone has not changed"


def test_finetune_of_deeper_layers_leaves_a_backbone_that_heads_can_use(store):
    config = FinetuneConfig(train_layers="layer4", epochs=2, learning_rate=0.002, image_size=16, precision="fp32")
    outcome = run_finetune(config)
    run = mlflow.get_run(outcome.run_id)
    assert run.data.metrics["val/accuracy"] == outcome.metrics["val/accuracy"], "the last value is the final one"
    _, files = artifacts_of(outcome.run_id)
    assert "backbone/backbone.safetensors" in files
    weights = f"runs:/{outcome.run_id}"
    fitted = run_fit_head(FitHeadConfig(head="knn", weights=weights, image_size=16, precision="fp32"))
    tags = mlflow.get_run(fitted.run_id).data.tags
    assert tags["weights"].startswith(weights)
    assert tags["features_key"] == run.data.tags["features_key"], "its features are stored already"
    assert find_runs({"stage": "extract"}, status=None) == []


def test_a_note_says_what_the_weights_are(store, tmp_path):
    own = build_backbone("resnet18", ResolvedWeights("", "", seed=3)).state_dict()
    torch.save(
        {"state_dict": {f"module.encoder_q.{key}": tensor for key, tensor in own.items()}}, tmp_path / "moco.tar"
    )
    taken = "Taken from the weights file: `state_dict/module.encoder_q.*`."
    file, tuning = str(tmp_path / "moco.tar"), {"train_layers": "layer4", "epochs": 1, "image_size": 16}
    tuning |= {"precision": "fp32", "learning_rate": 1e-4}
    tuned = run_finetune(FinetuneConfig(weights="random", **tuning))
    further = run_finetune(FinetuneConfig(weights=file, **tuning))
    head = run_fit_head(FitHeadConfig(head="prototype", weights=file, image_size=16))
    notes = [mlflow.get_run(one.run_id).data.tags["mlflow.note.content"] for one in (tuned, further, head)]
    assert "random-standardized-seed0, trained further (layer4)" in notes[0]
    assert "file:" not in notes[0]
    assert re.search(r"file:[0-9a-f]{12}, trained further \(layer4\)", notes[1])
    assert taken not in notes[0]
    assert taken in notes[1]
    assert taken in notes[2]


def test_fit_head_refuses_a_run_without_a_backbone(store):
    outcome = run_fit_head(FitHeadConfig(head="prototype"))
    with pytest.raises(InputError, match="weights must be a fine-tuning of more than fc, got 'runs:/"):
        run_fit_head(FitHeadConfig(weights=f"runs:/{outcome.run_id}"))


def test_fit_head_skips_unreadable_images_and_says_so(store, image_folder):
    bad = image_folder / "train" / "red" / "0.png"
    bad.write_bytes(bad.read_bytes()[:200])
    config = FitHeadConfig(dataset=f"folder:{image_folder}", head="prototype", image_size=32)
    with pytest.raises(InputError, match=r"0\.png.*on_bad_image=skip"):
        run_fit_head(config)
    assert {run.info.status for run in find_runs({}, status=None)} == {"FAILED"}
    outcome = run_fit_head(config.model_copy(update={"on_bad_image": "skip"}))
    tags = mlflow.get_run(outcome.run_id).data.tags
    assert tags["n_skipped_images"] == "1"
    assert "1 unreadable images were skipped" in tags["mlflow.note.content"]


def test_duplicates_across_splits_are_counted_and_warned_of(store, image_folder, caplog):
    copy = image_folder / "test" / "red" / "copy.png"
    copy.write_bytes((image_folder / "train" / "red" / "1.png").read_bytes())
    outcome = run_fit_head(FitHeadConfig(dataset=f"folder:{image_folder}", head="prototype", image_size=32))
    assert json.loads(mlflow.get_run(outcome.run_id).data.tags["duplicates_across_splits"]) == {"train/test": 1}
    text = [record.getMessage() for record in caplog.records if "images are also in train;" in record.getMessage()]
    advice = "duplicates=drop_from_train removes them from train"
    assert text == [f"folder:{image_folder}: 1 test images are also in train; {advice}"], "once"


def test_batch_size_larger_than_the_dataset_works(store, image_folder):
    config = FinetuneConfig(dataset=f"folder:{image_folder}", batch_size=4096, epochs=2, image_size=32)
    assert run_finetune(config).metrics["test/accuracy"] >= 1 / 3


def test_one_class_is_refused(store, tmp_path):
    for i in range(4):
        (tmp_path / "mono" / "cat").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (i * 30, 0, 0)).save(tmp_path / "mono" / "cat" / f"{i}.png")
    with pytest.raises(InputError, match="class"):
        run_fit_head(FitHeadConfig(dataset=f"folder:{tmp_path / 'mono'}"))
