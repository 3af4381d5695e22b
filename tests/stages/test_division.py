"""Groups and copies through the stages: how images are divided, what runs tell of it, and what keys hold."""

import json
from io import StringIO
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig, PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.head_runs import load_splits
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.stages.network_runs import image_splits
from resnet_mlflow.stages.preparation import compute_cache_key, prepare
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import find_runs, load_out_of_fold, load_predictions, load_thumbnails

PATIENT = r"patient_(\d+)"


def write_patients(folder: Path, numbers: range) -> Path:
    """Write two images of each class per patient, the classes distinguished by colour."""
    rng = np.random.default_rng(numbers.start)
    for number in numbers:
        for channel, name in enumerate(("red", "green")):
            for i in range(2):
                path = folder / name / f"patient_{number}_{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 130
                Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat folder of 15 patients, and a copy of a red image among the green ones."""
    root = write_patients(tmp_path_factory.mktemp("ward") / "ward", range(15))
    (root / "green" / "copy.png").write_bytes((root / "red" / "patient_3_0.png").read_bytes())
    return root


def options(ward: Path, **more: object) -> dict[str, object]:
    return {"dataset": f"folder:{ward}", "weights": "random", "backbone": "resnet18", "group_by": PATIENT, **more}


def patients(paths) -> set[str]:
    return {Path(path).stem.split("_")[1] for path in paths if "patient" in str(path)}


def artifact(run_id: str, path: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(mlflow.artifacts.load_text(f"{mlflow.get_run(run_id).info.artifact_uri}/{path}")))


def test_runs_tell_of_groups_and_contradictions(module_store, ward, caplog):
    outcome = run_fit_head(FitHeadConfig(**options(ward, head="prototype")))
    run = mlflow.get_run(outcome.run_id)
    tags, metrics = run.data.tags, run.data.metrics
    assert (tags["group_by"], tags["n_groups"], tags["groups_across_splits"]) == (PATIENT, "15", "{}")
    assert [metrics[f"groups/{name}"] for name in ("train", "val", "test")] == [10, 2, 3]
    assert metrics["groups/images_across_splits"] == 0
    assert run.data.params["group_by"] == PATIENT
    contrary = artifact(outcome.run_id, "data/contradictions.csv")
    assert contrary["label"].tolist() == ["green", "red"]
    assert contrary["path"].tolist() == ["green/copy.png", "red/patient_3_0.png"]
    assert contrary["group"].tolist() == [3, 3]
    for entry in run.inputs.dataset_inputs:
        profile = json.loads(entry.dataset.profile)
        context = {tag.key: tag.value for tag in entry.tags}
        assert context["n_groups"] == str(profile["n_groups"])
    assert "15 groups by" in tags["mlflow.note.content"]
    # 12 patients with 4 images each, and one image more: 20 % of either class cannot be had.
    assert "unbalanced_by_groups" in tags
    assert "images have contradictory labels" in caplog.text


def test_predictions_name_files_groups_and_splits(module_store, ward):
    (run,) = find_runs({"stage": "fit_head", "head": "prototype", "group_by": PATIENT, "n_groups": "15"})[-1:]
    root = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    known = {split: load_predictions(run.info.run_id, split) for split in ("train", "val", "test")}
    assert sum(len(one.labels) for one in known.values()) == 61
    for split, one in known.items():
        assert set(one.known["split"]) == {split}
        for path, group, label in zip(one.paths, one.known["group"], one.labels, strict=True):
            assert path.startswith(f"{label}/")
            assert path == "green/copy.png" or f"patient_{group}_" in path
    frame = pd.read_parquet(root / "evaluation" / "test" / "predictions.parquet")
    assert list(frame) == ["item_id", "path", "group", "split", "label", "prediction", "score_green", "score_red"]


@pytest.mark.parametrize(("wanted", "head", "kept"), [("never", "prototype", False), ("always", "knn", True)])
def test_train_predictions_are_kept_as_asked_for(module_store, ward, wanted, head, kept):
    outcome = run_fit_head(FitHeadConfig(**options(ward, head=head, train_predictions=wanted)))
    root = Path(mlflow.artifacts.download_artifacts(run_id=outcome.run_id))
    assert (root / "evaluation" / "train" / "predictions.parquet").exists() == kept


def test_worst_mistakes_are_a_table_with_thumbnails(module_store, tmp_path):
    # Nothing tells these classes apart, so that there are mistakes.
    root, rng = tmp_path / "noise", np.random.default_rng(0)
    for number in range(40):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    outcome = run_fit_head(FitHeadConfig(**options(root, group_by="", head="linear")))
    place = Path(mlflow.artifacts.download_artifacts(run_id=outcome.run_id)) / "evaluation" / "test"
    table = pd.read_csv(place / "mistakes.csv", keep_default_na=False)
    assert len(table) == len(load_thumbnails(outcome.run_id)) > 0
    assert all((root / path).is_file() for path in table["path"])
    assert (table["label"] != table["prediction"]).all()
    page = (place / "mistakes.html").read_text()
    assert page.count("<img") == len(table)
    assert table["path"][0] in page


def test_all_ways_to_the_splits_keep_groups_whole(module_store, ward):
    config = FitHeadConfig(**options(ward, shots=3, seed=2))
    inputs = prepare(config)
    _, splits = load_splits(config, inputs)
    train, val = image_splits(config, inputs)
    test = inputs.dataset.splits["test"]
    assert set(splits["val"].item_ids) == set(val.item_ids)
    assert set(splits["train"].item_ids) < set(train.item_ids)
    for one, other in ((train, val), (train, test), (val, test)):
        assert patients(one.paths).isdisjoint(patients(other.paths))
    # Three shots are of three patients.
    shot_groups = splits["train"].groups
    assert [len(set(shot_groups[splits["train"].labels == label])) for label in (0, 1)] == [3, 3]


def test_long_tail_fine_tuning_and_promotion_take_groups(module_store, ward):
    taken = options(ward, seeds="0", methods="none", imbalance_factor=4, head_params="{epochs: 1}")
    assert run_longtail(LongtailConfig(**taken))
    (tailed,) = (run for run in find_runs({"stage": "longtail"}) if run.data.tags.get("method") == "none")
    assert tailed.data.metrics["groups/images_across_splits"] == 0
    tuned = run_finetune(FinetuneConfig(**options(ward, train_layers="fc", epochs=1)))
    assert mlflow.get_run(tuned.run_id).data.tags["n_groups"] == "15"
    assert load_classifier(tuned.run_id).inputs.group_by == PATIENT
    promoted = run_promote(PromoteConfig(dataset=f"folder:{ward}", group_by=PATIENT, dry_run=True))
    assert promoted is not None


def test_tuning_folds_keep_groups_whole(module_store, ward):
    outcome = run_fit_head(FitHeadConfig(**options(ward, head="prototype", n_trials=1, cv_folds=3)))
    assert mlflow.get_run(outcome.run_id).info.status == "FINISHED"


def test_cross_validation_keeps_groups_whole_and_names_files(module_store, ward):
    outcome = run_fit_head(FitHeadConfig(**options(ward, head="prototype", folds=3)))
    found = load_out_of_fold(outcome.run_id)
    known = found.predictions.known
    assert len(found.folds) == 61
    assert set(known) == {"path", "group"}
    assert sorted(known["path"]) == sorted(f"{path.parent.name}/{path.name}" for path in ward.glob("*/*.png"))
    for group in set(known["group"]):
        assert len(set(found.folds[known["group"] == group])) == 1
    for run in find_runs({"stage": "fold", "group_by": PATIENT}):
        assert run.data.metrics["groups/images_across_splits"] == 0
        assert "warning.W11" not in run.data.tags


def test_cache_keys_hold_groups_where_there_are_some(module_store, ward, tmp_path):
    digits = FitHeadConfig(weights="random")
    inputs = prepare(digits)
    assert inputs.grouping == {}
    assert {"group_by", "duplicates", "crossing_groups"} <= digits.unread
    keys = {
        compute_cache_key("fit_head", config, prepare(config))
        for config in (
            FitHeadConfig(**options(ward)),
            FitHeadConfig(**options(ward, group_by="")),
            FitHeadConfig(**options(ward, group_by=r"(patient_\d)")),
        )
    }
    assert len(keys) == 3


def test_what_given_splits_share_is_listed_and_left_out(module_store, tmp_path, caplog):
    root = tmp_path / "given"
    write_patients(root / "train", range(8))
    write_patients(root / "test", range(7, 11))
    (root / "test" / "red" / "again.png").write_bytes((root / "train" / "red" / "patient_1_0.png").read_bytes())
    kept = run_fit_head(FitHeadConfig(**options(root, head="prototype")))
    run = mlflow.get_run(kept.run_id)
    assert json.loads(run.data.tags["duplicates_across_splits"]) == {"train/test": 1}
    assert json.loads(run.data.tags["groups_across_splits"]) == {"train/test": 5}
    # Validation was drawn from train: a group of either is known.
    description = (
        "4 of 17 test images are also in train or share a group with it; 1 of 17 test images are also in val or share "
        "a group with it"
    )
    assert run.data.tags["warning.W11"] == description
    copies = artifact(kept.run_id, "data/copies_across_splits.csv")
    assert copies["path"].tolist() == ["train/red/patient_1_0.png", "test/red/again.png"]
    assert set(artifact(kept.run_id, "data/groups_across_splits.csv")["group"]) == {1, 7}
    assert caplog.text.count("1 test images are also in train") == 1

    left = run_fit_head(FitHeadConfig(**options(root, head="prototype", crossing_groups="drop_from_train")))
    tags = mlflow.get_run(left.run_id).data.tags
    assert (tags["n_left_out_images"], tags["groups_across_splits"]) == ("8", "{}")
    assert tags["dataset_digest"] != run.data.tags["dataset_digest"]
    assert "8 images of train were left out" in tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("a", "which puts all 61 images of"),
        ("red|patient_[0-6]_", "every class must have at least 3 groups to split .copies are one group., got 1 for 30"),
    ],
)
def test_wrong_groups_are_refused_before_any_work(ward, group_by, message):
    with pytest.raises(InputError, match=message):
        prepare(FitHeadConfig(**options(ward, group_by=group_by)))


def test_wrong_groups_end_in_one_line(run_module, ward):
    ran = run_module("fit_head", "--dataset", f"folder:{ward}", "--group_by", "nobody")
    assert ran.returncode == 2
    assert "error: group_by must match at least one image, got 'nobody', which is not a column" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert find_runs({"stage": "fit_head"}, status=None) == []
