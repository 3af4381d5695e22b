"""Scores on images that a classifier is not for: a folder, corruptions, the table of them, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from analysis.runs import load_runs
from analysis.tables import TABLES
from resnet_mlflow.config import FitHeadConfig, PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.ood_scores import OOD_SCORES
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, get_run, version_with_alias


@pytest.fixture(scope="module")
def linear(module_store):
    return run_fit_head(FitHeadConfig(head="linear", weights="random")).run_id


@pytest.fixture(scope="module")
def tried(linear, make_image_folder, tmp_path_factory):
    """The run of a promotion that tried all scores on coloured pictures and on fog."""
    folder = make_image_folder(tmp_path_factory.mktemp("other"))
    run_promote(PromoteConfig(run_id=linear, ood=f"folder:{folder}", ood_corruptions="fog", ood_images=100))
    return find_runs({"stage": "promote", "candidate": linear})[0]


def test_clean_accuracy_stands_before_the_scores(tried, linear):
    logged = get_run(linear).data.metrics["test/accuracy"]
    # Of 100 of the 359 test images.
    assert tried.data.metrics["ood/clean_accuracy"] == pytest.approx(logged, abs=0.05)


def test_all_scores_are_logged_with_intervals(tried):
    metrics = tried.data.metrics
    for source, n_images in (("colours", 42), ("fog_5", 100)):
        for name in OOD_SCORES:
            key = f"ood/{source}/{name}"
            assert metrics[f"{key}/n_images"] == n_images
            assert metrics[f"{key}/auroc_ci_low"] <= metrics[f"{key}/auroc"] <= metrics[f"{key}/auroc_ci_high"]
            assert 0 <= metrics[f"{key}/fpr95"] <= 1
    assert metrics["ood/colours/knn/auroc"] > 0.95
    assert '"colours": {"knn": ' in version_with_alias("digits-classifier", "champion").tags["ood_auroc"]


def test_table_compares_scores(tried):
    table = TABLES["unlike"](load_runs("resnet-mlflow").frame)
    rows = table.frame
    assert len(rows) == 2 * len(OOD_SCORES)
    assert set(rows["source"]) == {"colours", "fog_5"}
    for _, own in rows.groupby("source"):
        assert own["auroc"].is_monotonic_decreasing
    assert (rows["auroc low"] <= rows["auroc"]).all()
    assert (rows["head"] == "linear").all()


def test_images_of_the_dataset_are_no_others(linear, image_folder, tmp_path):
    data = {"dataset": f"folder:{image_folder}", "image_size": 32, "weights": "random"}
    run_id = run_fit_head(FitHeadConfig(head="prototype", **data)).run_id
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(mixed / "new.png")
    shutil.copy(image_folder / "train" / "red" / "0.png", mixed)
    n_runs = len(find_runs({"stage": "promote"}, status=None))
    config = PromoteConfig(dataset=data["dataset"], run_id=run_id, ood=f"folder:{mixed}", model_name="mixed")
    with pytest.raises(InputError, match=r"ood must contain no images of folder:.*, got 1 of 2 images of folder:"):
        run_promote(config)
    with pytest.raises(InputError, match="ood must contain no images of digits, got 359 of 359"):
        run_promote(PromoteConfig(run_id=linear, ood="digits"))
    assert len(find_runs({"stage": "promote"}, status=None)) == n_runs


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"ood": "folder:nowhere"}, "images must be an existing folder, got nowhere"),
        ({"ood": "nodataset"}, "dataset must be"),
        ({"ood_corruptions": "fogg"}, "corruptions must be among .* got 'fogg'; did you mean 'fog'"),
        ({"ood_corruptions": "rotation", "ood_severity": 2}, "geometric ones exist at 1, 3 and 5"),
    ],
)
def test_others_that_are_none_are_refused(linear, asked, line):
    with pytest.raises(InputError, match=line):
        run_promote(PromoteConfig(run_id=linear, model_name="none", **asked))
    assert version_with_alias("none", "champion") is None
