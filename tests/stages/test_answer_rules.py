"""What promotion promises of answers: real runs on digits and colours, calibrated, packaged and loaded back."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, PromoteConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, get_run, load_predictions, load_served, version_with_alias


@pytest.fixture(scope="module")
def svm(module_store):
    return run_fit_head(FitHeadConfig(weights="random")).run_id


@pytest.fixture(scope="module")
def promised(svm):
    """The classifier that was promoted with a promise, and its version."""
    run_promote(PromoteConfig(run_id=svm, answer_error=0.02))
    version = version_with_alias("digits-classifier", "champion")
    return load_served("models:/digits-classifier@champion").get_raw_model(), version


def test_version_says_what_is_promised(promised, svm):
    _, version = promised
    assert version.tags["calibrated_on"] == "cross_fit"
    assert version.tags["answers"].startswith("answers 9")
    assert "with at most 2 % of them wrong" in version.tags["answers"]
    assert "the true class is in the set for 90 % of images" in version.tags["promises"]
    assert "Answers 9" in version.description
    (run,) = find_runs({"stage": "promote", "candidate": svm})[:1]
    logged = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/answering/rules.json")
    assert logged["answering"]["n_images"] == 1151
    assert len(logged["sets"]["by_class"]) == 10
    metrics = run.data.metrics
    assert metrics["answering/test_answer_error"] <= 0.02
    assert metrics["answering/test_coverage"] >= 0.9
    assert metrics["answering/test_answer_rate_ci_low"] < metrics["answering/test_answer_rate"]


def test_package_answers_as_the_promotion_logged(promised, svm):
    classifier, _ = promised
    images = load_digits().splits["test"]
    (_, judged), *others = classifier.iterate(np.stack([images.read_image(row) for row in range(64)]), batch_size=64)
    assert not others
    logged = load_predictions(svm)
    names = np.array(classifier.class_names)
    assert names[judged.labels].tolist() == logged.predictions[:64].tolist()
    assert 0.8 < judged.answered.mean() <= 1
    wrong = names[judged.labels] != logged.labels[:64]
    assert (wrong & judged.answered).sum() <= 2
    assert set(judged.reasons[judged.answered]) == {""}
    assert "" not in judged.reasons[~judged.answered]


def test_rules_and_their_arrays_are_files_of_the_package(promised):
    folder = Path(mlflow.artifacts.download_artifacts("models:/digits-classifier@champion")) / "data" / "classifier"
    assert {"rules.json", "rules.safetensors"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "rules.json").read_text())["source"] == "cross_fit"


def test_the_same_run_is_packaged_anew_for_another_promise(promised, svm):
    _, before = promised
    again = run_promote(PromoteConfig(run_id=svm, answer_error=0.02))
    assert again.version == int(before.version)
    other = run_promote(PromoteConfig(run_id=svm, answer_error=0.05))
    assert other.version == int(before.version) + 1
    champion = version_with_alias("digits-classifier", "champion")
    assert (int(champion.version), champion.tags["run_id"]) == (other.version, svm)


def test_costs_decide_instead_of_the_most_probable_class(svm, tmp_path):
    # Saying anything but 8 where it is one costs a lot.
    (tmp_path / "costs.yaml").write_text(yaml.safe_dump({"8": {str(i): 500 for i in range(10) if i != 8}}))
    run_promote(PromoteConfig(run_id=svm, model_name="costly", costs=str(tmp_path / "costs.yaml")))
    classifier = load_served("models:/costly@champion").get_raw_model()
    images = load_digits().splits["test"]
    (_, judged), *_ = classifier.iterate(np.stack([images.read_image(row) for row in range(128)]))
    probable = judged.probabilities.argmax(axis=1)
    changed = judged.labels != probable
    assert changed.any()
    assert set(judged.labels[changed]) == {8}
    assert (judged.label_probabilities[changed] < judged.probabilities.max(axis=1)[changed]).all()


def test_promises_rest_on_images_kept_aside(module_store):
    kept = {"val_fraction": 0.4, "calibration_fraction": 0.5, "weights": "random"}
    run_id = run_fit_head(FitHeadConfig(head="linear", **kept)).run_id
    run = get_run(run_id)
    contexts = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    sizes = {name: json.loads(dataset.profile)["n_images"] for name, dataset in contexts.items()}
    assert sizes == {"training": 863, "validation": 289, "calibration": 286, "testing": 359}
    run_promote(PromoteConfig(run_id=run_id, model_name="aside", answer_error=0.05))
    version = version_with_alias("aside", "champion")
    assert version.tags["calibrated_on"] == "kept_aside"
    assert "(286 calibration images)" in version.tags["promises"]
    with pytest.raises(InputError, match=r"answer_error=0\.01 needs images that no choice was based on: .*needs at"):
        run_promote(PromoteConfig(run_id=run_id, model_name="aside", answer_error=0.01))


def test_a_trained_network_needs_images_kept_aside(module_store, image_folder):
    data = {"dataset": f"folder:{image_folder}", "image_size": 32, "weights": "random", "epochs": 1}
    run_id = run_finetune(FinetuneConfig(train_layers="layer4", **data)).run_id
    config = PromoteConfig(dataset=data["dataset"], run_id=run_id, model_name="trained")
    run_promote(config)  # promises nothing, since nothing was asked for
    version = version_with_alias("trained", "champion")
    assert version.tags["promises"] == "none"
    assert load_served("models:/trained@champion").predict(np.zeros((1, 32, 32, 3), np.uint8)).columns.tolist() == [
        "label",
        "probability",
        "scores",
    ]
    line = f"run {run_id} set no images aside; fit it with calibration_fraction=0.5"
    with pytest.raises(InputError, match=line):
        run_promote(config.model_copy(update={"answer_error": 0.3}))
    with pytest.raises(InputError, match="cross_fit is for heads on frozen features only"):
        run_promote(config.model_copy(update={"calibrate": "cross_fit"}))
    kept = run_finetune(FinetuneConfig(train_layers="layer4", val_fraction=0.5, calibration_fraction=0.6, **data))
    run_promote(config.model_copy(update={"run_id": kept.run_id, "model_name": "kept", "calibrate": "kept_aside"}))
    assert "(9 calibration images)" in version_with_alias("kept", "champion").tags["promises"]


@pytest.mark.parametrize(("shots", "promises"), [(1, "none"), (2, "none"), (3, "(30 calibration images)")])
def test_few_shots_promise_what_they_can(module_store, shots, promises):
    run_id = run_fit_head(FitHeadConfig(head="prototype", shots=shots, weights="random")).run_id
    name = f"shots-{shots}"
    run_promote(PromoteConfig(run_id=run_id, model_name=name))
    assert promises in version_with_alias(name, "champion").tags["promises"]
    with pytest.raises(InputError, match=r"answer_error=0\.1 needs images that no choice was based on: "):
        run_promote(PromoteConfig(run_id=run_id, model_name=name, answer_error=0.1))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"answer_error": 0.001}, r"needs at least 4603 calibration images, got 1151; .*pass answer_error=0\.01"),
        ({"coverage": 0.9999}, "coverage=0.9999 needs .* needs at least 9999 calibration images, got 1151"),
        ({"calibrate": "kept_aside"}, r"set no images aside; fit it with calibration_fraction=0\.5, or pass calib"),
        ({"calibrate": "none", "answer_error": 0.02}, "calibrate is none; pass calibrate=auto"),
        ({"sets_per": "group"}, "sets_per=group needs at least 9 calibration images of at least one group, got fewer"),
        ({"costs": "nowhere.yaml"}, "costs must be a YAML file, got nowhere.yaml"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused(svm, asked, line):
    with pytest.raises(InputError, match=line):
        run_promote(PromoteConfig(run_id=svm, model_name="refused", **asked))
    assert version_with_alias("refused", "champion") is None


def test_costs_of_another_shape_are_refused_before_anything_is_done(svm, tmp_path):
    (tmp_path / "costs.yaml").write_text("[[0, 1], [1, 0]]")
    n_runs = len(find_runs({"stage": "promote"}, status=None))
    for dry_run in (False, True):
        with pytest.raises(InputError, match="costs must be a matrix of 10 x 10 numbers"):
            run_promote(PromoteConfig(run_id=svm, costs=str(tmp_path / "costs.yaml"), dry_run=dry_run))
    assert len(find_runs({"stage": "promote"}, status=None)) == n_runs
