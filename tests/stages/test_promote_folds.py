"""A cross-validated configuration is promoted by a classifier that is fitted on all images."""

import shutil

import mlflow
import pytest

from resnet_mlflow.config import FitHeadConfig, PromoteConfig, RobustnessConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.stages.robustness_sources import choose_runs, load_classifiers
from resnet_mlflow.tracking import find_runs, load_predictions, run_of_model, version_with_alias


@pytest.fixture(scope="module")
def flat(module_store, make_image_folder, tmp_path_factory):
    """A folder of colours without splits: 14 images of each of three classes."""
    split_folder, root = make_image_folder(tmp_path_factory.mktemp("split")), tmp_path_factory.mktemp("flat") / "paints"
    for file in split_folder.rglob("*.png"):
        # Other class names than elsewhere, or the tests of folds would find these features.
        target = root / f"{file.parent.name}ish" / f"{file.parent.parent.name}{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return f"folder:{root}"


@pytest.fixture(scope="module")
def divided(flat):
    """Two configurations over the same folds, by head."""
    configs = {
        head: FitHeadConfig(dataset=flat, head=head, weights="random", image_size=32, folds=2)
        for head in ("knn", "prototype")
    }
    return {head: run_fit_head(config).run_id for head, config in configs.items()}


def test_promote_refits_on_all_images(divided, flat, caplog):
    caplog.set_level("INFO")
    found = run_promote(PromoteConfig(dataset=flat, run_id=divided["knn"]))
    assert (found.run_id, found.version, found.decision.promote) == (divided["knn"], 1, True)
    assert "contains no classifier: fitting its configuration on all 42 images" in caplog.text
    (refit,) = find_runs({"stage": "refit"})
    assert refit.data.tags["refit_of"] == divided["knn"]
    assert refit.info.run_name.endswith("refit on 42 images")
    contexts = {entry.tags[0].value: entry.dataset for entry in refit.inputs.dataset_inputs}
    assert set(contexts) == {"training", "validation"}
    assert not any(name.startswith("test/") for name in refit.data.metrics)
    version = version_with_alias("paints-classifier", "champion")
    assert version.tags["refit_run"] == refit.info.run_id
    assert version.tags["cv_accuracy"] == f"{mlflow.get_run(divided['knn']).data.metrics['cv_accuracy']:.4f}"
    assert "fitted on all images, with the scores of the cross-validation" in version.description
    assert run_of_model("models:/paints-classifier@champion") == refit.info.run_id
    served = mlflow.pyfunc.load_model("models:/paints-classifier@champion")
    assert served is not None
    assert len(load_predictions(refit.info.run_id, "val").labels) > 0


def test_promote_compares_over_the_same_folds_only(divided, flat):
    run_promote(PromoteConfig(dataset=flat, run_id=divided["knn"]))
    second = run_promote(PromoteConfig(dataset=flat, run_id=divided["prototype"], dry_run=True))
    assert "cross-validated accuracy differs by" in second.decision.reason
    fixed = run_fit_head(FitHeadConfig(dataset=flat, head="knn", weights="random", image_size=32))
    with pytest.raises(
        InputError, match="must have been evaluated in the same way, got 1 x 2 folds, seed 0 for the champion"
    ):
        run_promote(PromoteConfig(dataset=flat, run_id=fixed.run_id))


def test_a_refit_on_all_images_has_none_left_to_test_on(divided, flat):
    run_promote(PromoteConfig(dataset=flat, run_id=divided["knn"]))
    config = RobustnessConfig(model="models:/paints-classifier@champion")
    with pytest.raises(InputError, match=r"must have test images, got run .* fitted on all of folder"):
        load_classifiers(choose_runs(config), config)
