"""Promotion on digits: real runs, a real registry, one store that the tests share under names of their own."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from resnet_mlflow.backbones.quantized import has_int8
from resnet_mlflow.cli import parse
from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, PromoteConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, get_run, load_served, run_of_model


@pytest.fixture(scope="module")
def runs(module_store):
    """Run ids of three heads on digits: a good one, one that is as good within its interval, and a poor one."""
    heads = {"svm": "svm", "knn": "knn", "prototype": "prototype"}
    return {name: run_fit_head(FitHeadConfig(head=head, weights="random")).run_id for name, head in heads.items()}


def versions(name):
    """Tags of a registered model's versions by alias."""
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model(name).aliases
    return {alias: client.get_model_version(name, number) for alias, number in aliases.items()}


def n_versions(name):
    return len(mlflow.MlflowClient().search_model_versions(f"name = '{name}'"))


def test_a_package_prepares_images_as_its_weights_are_used_to(runs):
    own = {"image_size": 32, "resize": 40, "interpolation": "bicubic", "mean": "0.5,0.5,0.5", "precision": "fp32"}
    tuned = run_finetune(FinetuneConfig(weights="random", train_layers="layer4", epochs=1, learning_rate=1e-4, **own))
    # Nothing is said here: the fine-tuned network's file knows.
    given = {"weights": f"runs:/{tuned.run_id}", "image_size": 32, "precision": "fp32"}
    fitted = run_fit_head(FitHeadConfig(head="prototype", **given))
    texts = {get_run(one.run_id).data.tags["preprocessing"] for one in (tuned, fitted)}
    assert texts == {"resize-40/32-bicubic-mean-0.5,0.5,0.5-std-0.229,0.224,0.225"}
    keys = {get_run(one.run_id).data.tags["features_key"] for one in (tuned, fitted)}
    assert len(keys) == 1
    for run_id in (tuned.run_id, fitted.run_id):
        promoted = run_promote(PromoteConfig(run_id=run_id, model_name=f"own-{run_id[:6]}"))
        assert promoted.decision.promote
        classifier = load_served(f"models:/own-{run_id[:6]}@champion").get_raw_model()
        assert classifier.description.preprocessing in texts


@pytest.mark.skipif(not has_int8(), reason="needs AVX2")
@pytest.mark.usefixtures("module_store")
def test_classifiers_on_features_in_int8_are_served_in_int8():
    given = {"weights": "random", "image_size": 32, "precision": "int8"}
    trained = run_finetune(FinetuneConfig(train_layers="fc", epochs=2, learning_rate=0.01, **given))
    fitted = run_fit_head(FitHeadConfig(head="prototype", **given))
    exact = run_fit_head(FitHeadConfig(head="prototype", **given | {"precision": "fp32"}))
    tags = [get_run(one.run_id).data.tags for one in (trained, fitted, exact)]
    assert [one["precision"] for one in tags] == ["int8", "int8", "fp32"]
    assert tags[0]["features_key"] == tags[1]["features_key"] != tags[2]["features_key"]
    for run_id in (trained.run_id, fitted.run_id):
        # Promotion compares the package's predictions with those that the run logged.
        assert run_promote(PromoteConfig(run_id=run_id, model_name=f"int8-{run_id[:6]}")).decision.promote
        classifier = load_served(f"models:/int8-{run_id[:6]}@champion").get_raw_model()
        assert classifier.description.precision == "int8"


def test_promote_first_champion_then_a_challenger_then_a_better_one(runs):
    first = run_promote(PromoteConfig(run_id=runs["prototype"]))
    assert (first.model_name, first.version, first.decision.promote) == ("digits-classifier", 1, True)

    same = run_fit_head(FitHeadConfig(head="prototype", head_params="{metric: cosine}", weights="random")).run_id
    worse = run_promote(PromoteConfig(run_id=same))
    low, high = worse.decision.difference.interval
    assert not worse.decision.promote
    assert low <= 0
    after = versions("digits-classifier")
    assert {alias: version.version for alias, version in after.items()} == {"champion": 1, "challenger": 2}
    challenger = after["challenger"].tags
    assert challenger["test_difference_interval"] == f"{low:+.4f} to {high:+.4f}"
    assert challenger["compared_with_version"] == "1"
    assert challenger["compared_with_run"] == runs["prototype"]
    assert after["champion"].tags["held_against_version"] == "2"

    better = run_promote(PromoteConfig())
    assert better.run_id == runs["svm"], "the best by validation"
    assert better.decision.promote
    assert better.decision.difference.interval[0] > 0
    after = versions("digits-classifier")
    assert {alias: version.version for alias, version in after.items()} == {"champion": 3, "challenger": 1}
    assert after["challenger"].tags["replaced_by_version"] == "3"
    # Two looks at one test split: the second asks for more.
    assert challenger["test_look"] == "1"
    assert challenger["test_difference_level"] == "0.05"
    assert after["champion"].tags["test_look"] == "2"
    assert after["champion"].tags["test_difference_level"] == "0.01667"
    assert "98.33 % interval" in better.decision.reason
    assert run_of_model("models:/digits-classifier@champion") == runs["svm"]


def test_promote_of_the_same_two_again_is_no_new_look(runs):
    for head in ("prototype", "knn", "knn"):
        last = run_promote(PromoteConfig(run_id=runs[head], model_name="looks"))
    assert last.decision.look == 1
    third = run_promote(PromoteConfig(run_id=runs["svm"], model_name="looks", dry_run=True))
    assert third.decision.look == 2
    assert run_promote(PromoteConfig(run_id=runs["svm"], model_name="looks", dry_run=True)).decision.look == 2


def test_promote_writes_what_the_version_rests_on(runs):
    run_promote(PromoteConfig(run_id=runs["svm"], model_name="tags"))
    version = versions("tags")["champion"]
    metrics = get_run(runs["svm"]).data.metrics
    low, high = (metrics[f"test/accuracy_ci_{end}"] for end in ("low", "high"))
    expected = {
        "run_id": runs["svm"],
        "dataset": "digits",
        "dataset_digest": load_digits().digest,
        "backbone": "resnet18",
        "weights": "random-standardized-seed0",
        "head": "svm",
        "val_accuracy": f"{metrics['val/accuracy']:.4f}",
        "test_accuracy": f"{metrics['test/accuracy']:.4f}",
        "test_accuracy_interval": f"{low:.4f} to {high:.4f}",
        "reason": "first champion of its name",
    }
    assert expected.items() <= version.tags.items()
    assert "| class | predicted as | images" in version.description
    card = version.tags["model_card_run"]
    assert f"/runs/{card}/artifacts/model_card.html)" in version.description
    for name in ("model_card.md", "model_card.html"):
        text = mlflow.artifacts.load_text(f"runs:/{card}/{name}")
        assert load_digits().digest in text
        assert "digest of val" in text
    (run,) = find_runs({"stage": "promote", "candidate": runs["svm"], "dataset": "digits"})[:1]
    assert run.info.status == "FINISHED"


def test_promote_packages_no_pickle_and_its_own_source(runs):
    run_promote(PromoteConfig(run_id=runs["svm"], model_name="package"))
    folder = Path(mlflow.artifacts.download_artifacts("models:/package@champion"))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib", ".pth", ".pt"))]
    assert {
        "data/classifier/backbone.safetensors",
        "data/classifier/head.skops",
        "data/classifier/classifier.json",
        "code/resnet_mlflow/serving/__init__.py",
        "input_example.json",
    } <= files.keys()
    requirements = files["requirements.txt"].read_text().split()
    assert {line.split("==")[0] for line in requirements} >= {"mlflow", "torch", "torchvision", "skops"}
    assert not [line for line in requirements if "+" in line], "a package index has no local builds"
    info = mlflow.models.get_model_info("models:/package@champion")
    assert info.flavors["python_function"]["loader_module"] == "resnet_mlflow.serving"
    assert [column.name for column in info.signature.outputs] == [
        "label",
        "probability",
        "scores",
        "set",
        "answered",
        "reason",
    ]
    assert info.signature.params.to_dict()[0]["name"] == "top_k"
    assert json.loads(files["serving_input_example.json"].read_text())["dataframe_split"]["columns"] == ["image"]


def test_promoted_model_takes_its_example_and_pixels(runs):
    run_promote(PromoteConfig(run_id=runs["svm"], model_name="inputs"))
    model = load_served("models:/inputs@champion")
    images = load_digits().splits["test"]
    pixels = np.stack([images.read_image(row) for row in range(2)])
    from_pixels = model.predict(pixels, params={"top_k": 3})
    assert [len(scores) for scores in from_pixels["scores"]] == [3, 3]
    assert from_pixels["label"].tolist() == [str(label) for label in images.labels[:2]]
    from_example = model.predict(model.input_example, params={"top_k": 3})
    assert from_example["scores"][0] == pytest.approx(from_pixels["scores"][0], abs=1e-6)
    limited = load_served("models:/inputs@champion", {"max_pixels": 63})
    with pytest.raises(MlflowException, match="row 0: an image must have at most 63 pixels, got 8 x 8; shrink it"):
        limited.predict(model.input_example)


def test_promote_again_makes_no_second_version(runs):
    config = PromoteConfig(run_id=runs["svm"], model_name="again")
    run_promote(config)
    second = run_promote(config)
    assert (second.version, n_versions("again")) == (1, 1)
    assert second.decision.reason == "the candidate is already champion, as version 1"
    run_promote(config.model_copy(update={"run_id": runs["knn"]}))
    run_promote(config.model_copy(update={"run_id": runs["knn"]}))
    assert n_versions("again") == 2


def test_promote_dry_run_explains_and_changes_nothing(runs, caplog):
    run_promote(PromoteConfig(run_id=runs["prototype"], model_name="dry"))
    n_runs = len(find_runs({"stage": "promote"}, status=None))
    with caplog.at_level("INFO"):
        outcome = run_promote(PromoteConfig(model_name="dry", dry_run=True))
    assert outcome.version is None
    assert outcome.decision.promote
    assert "decision:  champion (test accuracy differs by +" in caplog.text
    assert "nothing was changed" in caplog.text
    assert n_versions("dry") == 1
    assert versions("dry")["champion"].tags.get("replaced_by_version") is None
    assert len(find_runs({"stage": "promote"}, status=None)) == n_runs


def test_promote_needs_more_than_the_margin(runs):
    run_promote(PromoteConfig(run_id=runs["prototype"], model_name="margin"))
    outcome = run_promote(PromoteConfig(run_id=runs["svm"], model_name="margin", margin=0.5, dry_run=True))
    assert not outcome.decision.promote
    assert outcome.decision.reason.endswith("not above the margin 0.5")


def test_promote_passes_over_trials_pointers_and_unfinished_runs(runs):
    client = mlflow.MlflowClient()
    tags = {"dataset_digest": load_digits().digest}
    others = [
        (tags | {"stage": "trial"}, "FINISHED"),
        (tags | {"stage": "fit_head", "continued_in": runs["knn"]}, "FINISHED"),
        (tags | {"stage": "fit_head"}, "FAILED"),
        (tags | {"stage": "longtail"}, "FINISHED"),
        ({"stage": "fit_head", "dataset_digest": "another"}, "FINISHED"),
    ]
    made = [client.create_run(get_run(runs["svm"]).info.experiment_id, tags=each) for each, _ in others]
    for run, (_, status) in zip(made, others, strict=True):
        client.log_metric(run.info.run_id, "val/accuracy", 1.0)
        client.set_terminated(run.info.run_id, status)
    assert run_promote(PromoteConfig(dry_run=True)).run_id == runs["svm"]
    for run in made[:4]:
        with pytest.raises(InputError, match="a candidate must be a FINISHED run of fit_head or finetune, got run"):
            run_promote(PromoteConfig(run_id=run.info.run_id))


def test_promote_refuses_a_name_that_mlflow_refuses(runs):
    with pytest.raises(InputError, match=r"model_name must be valid in MLflow, got 'a/b' \(.*'/' or ':'"):
        run_promote(PromoteConfig(model_name="a/b"))


def test_promote_refuses_an_unknown_metric():
    with pytest.raises(InputError, match="metric must be one of 'accuracy' or 'balanced_accuracy', got 'acuracy'"):
        parse(PromoteConfig, ["--metric", "acuracy"])


def test_promote_refuses_a_dataset_without_candidates(runs, image_folder):
    with pytest.raises(InputError, match=r"a candidate must be a FINISHED run .* \(digest \w{32}\), got none"):
        run_promote(PromoteConfig(dataset=f"folder:{image_folder}"))


def test_promote_refuses_other_classes_and_other_images(runs, image_folder, make_image_folder, tmp_path):
    later_folder = make_image_folder(tmp_path / "later")
    (later_folder / "test" / "red" / "3.png").unlink()
    champion, candidate = (
        run_fit_head(FitHeadConfig(dataset=f"folder:{folder}", head="prototype", image_size=32, weights="random"))
        for folder in (image_folder, later_folder)
    )
    then, now = (get_run(run.run_id).data.tags["dataset_digest"] for run in (champion, candidate))
    run_promote(PromoteConfig(dataset=f"folder:{image_folder}", model_name="birds"))
    with pytest.raises(InputError, match=r"know the classes of digits, \['0', '1'.*got \['blue', 'green', 'red'\]"):
        run_promote(PromoteConfig(model_name="birds"))
    later = PromoteConfig(dataset=f"folder:{later_folder}", model_name="birds")
    with pytest.raises(InputError, match=f"must have the same dataset, got digest {then} for version 1 .* and {now}"):
        run_promote(later)
    with pytest.raises(InputError, match=f"as it is now .digest {now}., got digest {then} for run {champion.run_id}"):
        run_promote(later.model_copy(update={"run_id": champion.run_id}))
    assert n_versions("birds") == 1


def test_promote_packages_a_fine_tuned_backbone_that_heads_can_use(runs, image_folder):
    data = {"dataset": f"folder:{image_folder}", "image_size": 32, "weights": "random"}
    tuned = run_finetune(FinetuneConfig(train_layers="layer4", epochs=2, **data)).run_id
    assert run_promote(PromoteConfig(dataset=data["dataset"], run_id=tuned, model_name="tuned")).version == 1
    fitted = run_fit_head(FitHeadConfig(head="prototype", **data | {"weights": "models:/tuned@champion"})).run_id
    assert get_run(fitted).data.tags["features_key"] == get_run(tuned).data.tags["features_key"]


def test_promote_registers_nothing_that_predicts_otherwise_than_its_run(runs, tmp_path):
    copied = mlflow.artifacts.download_artifacts(run_id=runs["prototype"], dst_path=str(tmp_path))
    config = json.loads(Path(copied, "config.json").read_text())
    fitted = run_fit_head(FitHeadConfig(**config)).run_id
    # The configuration now names other weights than those that the head was fitted with.
    mlflow.MlflowClient().log_dict(fitted, config | {"weights_seed": 1}, "config.json")
    with pytest.raises(InputError, match=f"must give the predictions of run {fitted}, got \\d+ of 359 that differ"):
        run_promote(PromoteConfig(run_id=fitted, model_name="other"))
    (run,) = find_runs({"stage": "promote", "candidate": fitted}, status="FAILED")
    assert "must give the predictions" in run.data.tags["error"]
    assert mlflow.MlflowClient().search_registered_models("name = 'other'") == []
