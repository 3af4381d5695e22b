"""What runs log about the division of images: groups, images that cross splits, and imbalance."""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.config import DataConfig
from resnet_mlflow.csv_text import csv_of
from resnet_mlflow.data.crossings import contradictions, copies_across, groups_across
from resnet_mlflow.data.datasets import TEST_FRACTION, ImageDataset
from resnet_mlflow.data.group_draws import are_single
from resnet_mlflow.data.splits import split_validation, unbalanced
from resnet_mlflow.features.identity import FeatureSet, FeatureSplit, partition
from resnet_mlflow.tracking import StageRun

logger = logging.getLogger(__name__)

# By split and class: actual and intended number of images.
Imbalance = Mapping[str, Mapping[str, tuple[int, int]]]
SHOWN = 5
FOLDER = "data"


def partition_of(config: DataConfig, features: FeatureSet, shots: int = 0) -> dict[str, FeatureSplit]:
    """Return the splits that a configuration uses to train, validate and test, and those set aside.

    Args:
        config: Fractions of the drawn splits, and their seed.
        features: Features of the dataset.
        shots: Training items per class; 0 means all.
    """
    return partition(features, config.val_fraction, config.seed, shots, config.calibration_fraction)


@lru_cache(maxsize=64)
def imbalance_of(dataset: ImageDataset, val_fraction: float, seed: int) -> Imbalance:
    """Return the classes whose number of images in drawn splits differs from the intended one.

    Args:
        dataset: The dataset with its groups.
        val_fraction: Fraction of train used for validation.
        seed: Seed of the validation split.

    Raises:
        InputError: If groups leave a class without validation images, or without training images.
    """
    names, found = dataset.class_names, {}
    if "all" in dataset.given and dataset.has_groups:
        whole, test = _sizes(dataset, dataset.given["all"].labels, dataset.splits["test"].labels)
        found["test"] = unbalanced(whole, test, TEST_FRACTION)
    train = dataset.splits["train"]
    if "val" not in dataset.splits and not are_single(train.groups):
        _, rows = split_validation(train.labels, val_fraction, seed, names, train.groups)
        sizes, held_out = _sizes(dataset, train.labels, train.labels[rows])
        found["val"] = unbalanced(sizes, held_out, val_fraction)
    tags = {
        split: {names[label]: pair for label, pair in classes.items()} for split, classes in found.items() if classes
    }
    for split, classes in tags.items():
        logger.warning("%s: groups prevented balanced classes in %s: %s", dataset.name, split, _listed(classes))
    return tags


def _sizes(dataset: ImageDataset, *labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.bincount(one, minlength=len(dataset.class_names)) for one in labels]


def _listed(classes: Mapping[str, tuple[int, int]]) -> str:
    parts = [f"{name} {got} images, not {wanted}" for name, (got, wanted) in list(classes.items())[:SHOWN]]
    more = len(classes) - SHOWN
    return ", ".join(parts) + (f", and {more} more classes" if more > 0 else "")


def groups_digest(dataset: ImageDataset) -> str:
    """Return 32 hexadecimal digits that identify the grouping of images."""
    numbers = np.concatenate([split.groups for split in dataset.splits.values()])
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    in_order = np.argsort(np.argsort(first))[inverse.ravel()].astype("<i8")
    return hashlib.blake2b(in_order.tobytes(), digest_size=16).hexdigest()


def division_tags(dataset: ImageDataset, group_by: str, imbalance: Imbalance) -> dict[str, str]:
    """Return the tags about groups; none if each image is its own group."""
    tags = {"n_left_out_images": str(sum(dataset.n_left_out.values()))} if dataset.n_left_out else {}
    if group_by or dataset.has_groups:
        tags |= {
            "group_by": group_by or "content",
            "n_groups": str(dataset.n_groups),
            "groups_across_splits": json.dumps(dataset.n_groups_across_splits),
            "unbalanced_by_groups": json.dumps(imbalance),
        }
    return tags


def division_remarks(dataset: ImageDataset, group_by: str, imbalance: Imbalance) -> list[str]:
    """Return remarks on groups that precede a run's numbers."""
    remarks = [
        f"{n} images of {name} were left out, because they are also in held-out splits." for name, n in _left(dataset)
    ]
    if group_by:
        remarks.append(f"{dataset.n_groups} groups by `{group_by}`; draws never divide a group.")
        remarks += [
            f"{n} images of {pair.split('/')[1]} belong to groups that are also in {pair.split('/')[0]}."
            for pair, n in dataset.n_groups_across_splits.items()
        ]
    remarks += [f"Groups prevented balanced classes in {split}: {_listed(one)}." for split, one in imbalance.items()]
    return remarks


def _left(dataset: ImageDataset) -> list[tuple[str, int]]:
    return list(dataset.n_left_out.items())


def seen_before(splits: Mapping[str, FeatureSplit]) -> dict[str, tuple[int, int]]:
    """Return by pair of splits how many items of the later one belong to groups in the earlier one, and the total."""
    shared = {
        f"{first}/{second}": (int(np.isin(splits[second].groups, splits[first].groups).sum()), len(splits[second]))
        for first, second in combinations([name for name in ("train", "val", "test") if name in splits], 2)
    }
    return {pair: counts for pair, counts in shared.items() if counts[0]}


def log_division(run: StageRun, dataset: ImageDataset, splits: Mapping[str, FeatureSplit]) -> None:
    """Log the number of groups in each split, and lists of images that cross splits or contradict each other.

    Nothing is logged if each image is its own group.

    Args:
        run: The active run.
        dataset: The run's dataset.
        splits: The splits used to train, validate and test.
    """
    if not dataset.has_groups and not dataset.n_left_out:
        return
    metrics = {f"groups/{name}": float(len(np.unique(split.groups))) for name, split in splits.items()}
    run.log_metrics(metrics | {"groups/images_across_splits": float(sum(dataset.n_groups_across_splits.values()))})
    lists = {
        "copies_across_splits": copies_across(dataset),
        "groups_across_splits": groups_across(dataset) if any(dataset.group_names) else {"path": []},
        "contradictions": contradictions(dataset),
    }
    with run.artifacts() as folder:
        (folder / FOLDER).mkdir()
        for name, listed in lists.items():
            if listed["path"]:
                (folder / FOLDER / f"{name}.csv").write_text(csv_of(pd.DataFrame(listed)), encoding="utf-8")
