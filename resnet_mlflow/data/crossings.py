"""Images in several splits, or under several labels: found, listed, and left out on request."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, dataset_digest, divide
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.data.grouping import named_groups
from resnet_mlflow.data.splits import check_class_sizes
from resnet_mlflow.errors import InputError

logger = logging.getLogger(__name__)

# Columns of the lists of images.
Listed = dict[str, list[str]]
SHOWN = 3


def leave_out(dataset: ImageDataset, *, copies: bool, groups: bool) -> ImageDataset:
    """Return the dataset without the training images that are also in a held-out split; test does not change.

    Validation loses its images that are also in test.

    Args:
        dataset: The dataset with its groups.
        copies: Whether to leave out images of equal content.
        groups: Whether to leave out images whose group is also in a held-out split, copies included.

    Raises:
        InputError: If a class is left without training images.
    """
    if "all" in dataset.given or not (copies or groups):
        return dataset
    keys: dict[str, NDArray[np.generic]] = {
        name: split.groups if groups else split.item_ids for name, split in dataset.splits.items()
    }
    kept = {
        name: ~np.isin(keys[name], np.concatenate([keys[later] for later in after] or [keys[name][:0]]))
        for name, after in _later(dataset).items()
    }
    n_left_out = {name: int((~rows).sum()) for name, rows in kept.items() if not rows.all()}
    if not n_left_out:
        return dataset
    given = {name: dataset.given[name].select(np.flatnonzero(kept[name])) for name in dataset.splits}
    what = "crossing_groups" if groups else "duplicates"
    _check_sizes(given, dataset, what)
    splits = divide(given, dataset.class_names)
    for name, n in n_left_out.items():
        logger.warning("%s: %d %s images that are also in held-out splits are left out", dataset.name, n, name)
    digest = dataset_digest(dataset.class_names, splits)
    return replace(dataset, splits=splits, digest=digest, n_left_out=n_left_out)


def _later(dataset: ImageDataset) -> dict[str, list[str]]:
    order = [name for name in ("train", "val", "test") if name in dataset.splits]
    return {name: order[place + 1 :] for place, name in enumerate(order)}


def _check_sizes(splits: dict[str, ImageSplit], dataset: ImageDataset, what: str) -> None:
    for name, split in splits.items():
        try:
            n_min = 2 if name == "train" and "val" not in splits else 1
            check_class_sizes(split.labels, dataset.class_names, n_min=n_min, purpose=f"in {name}")
        except InputError as error:
            raise InputError(f"{what}=drop_from_train must leave training images in every class: {error}") from None


def copies_across(dataset: ImageDataset) -> Listed:
    """Return the images whose content is in several splits, by content."""
    return _across(dataset, lambda split: split.item_ids)


def groups_across(dataset: ImageDataset) -> Listed:
    """Return the images whose group is in several splits, by group."""
    return _across(dataset, lambda split: split.groups)


def contradictions(dataset: ImageDataset) -> Listed:
    """Return the images whose content has several labels, by content."""
    ids = np.concatenate([split.item_ids for split in _original_splits(dataset).values()])
    labels = np.concatenate([split.labels for split in _original_splits(dataset).values()])
    return _listed(dataset, _with_several(ids, labels), ids)


def _across(dataset: ImageDataset, key: Callable[[ImageSplit], NDArray[np.generic]]) -> Listed:
    splits = _original_splits(dataset)
    keys = np.concatenate([key(split) for split in splits.values()])
    places = np.repeat(np.arange(len(splits)), [len(split) for split in splits.values()])
    return _listed(dataset, _with_several(keys, places), keys)


def _original_splits(dataset: ImageDataset) -> Mapping[str, ImageSplit]:
    """Return the given splits, including images left out since; or the drawn splits."""
    return dataset.splits if "all" in dataset.given else dataset.given


def _with_several(keys: NDArray[np.generic], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which items have a key that occurs with several values."""
    numbers = number_groups(keys)
    first = np.empty(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = values[::-1]
    several = np.zeros(len(first), dtype=bool)
    several[numbers[values != first[numbers]]] = True
    return several[numbers]


def _listed(dataset: ImageDataset, chosen: NDArray[np.bool_], keys: NDArray[np.generic]) -> Listed:
    """Return item id, group, split, label and path of some items of all splits, in the order of their keys."""
    found: Listed = {name: [] for name in ("item_id", "group", "split", "label", "path")}
    start, order = 0, []
    for name, split in _original_splits(dataset).items():
        rows = np.flatnonzero(chosen[start : start + len(split)])
        own = split.select(rows)
        order.append(keys[start + rows])
        found["item_id"] += own.item_ids.tolist()
        found["group"] += named_groups(dataset, own)
        found["split"] += [name] * len(own)
        found["label"] += [dataset.class_names[label] for label in own.labels]
        found["path"] += dataset.relative_paths(own)
        start += len(split)
    by_key = np.argsort(np.concatenate(order), kind="stable")
    return {name: [values[row] for row in by_key] for name, values in found.items()}


def tell_crossings(dataset: ImageDataset, group_by: str) -> None:
    """Warn about images shared between splits, and about images under several labels."""
    for pair, count in dataset.n_duplicates_across_splits.items():
        first, second = pair.split("/")
        logger.warning(
            "%s: %d %s images are also in %s; duplicates=drop_from_train removes them from train",
            dataset.name,
            count,
            second,
            first,
        )
    for pair, count in dataset.n_groups_across_splits.items() if group_by else ():
        first, second = pair.split("/")
        logger.warning(
            "%s: %d %s images belong to groups that are also in %s; crossing_groups=drop_from_train removes the "
            "group's images from train",
            dataset.name,
            count,
            second,
            first,
        )
    contrary = contradictions(dataset)
    if contrary["path"]:
        examples = [f"{path or item_id[:12]} ({label})" for item_id, path, label in _first(contrary)]
        logger.warning(
            "%s: %d images have contradictory labels: the same content under different labels, such as %s",
            dataset.name,
            len(contrary["path"]),
            ", ".join(examples),
        )


def _first(listed: Listed) -> list[tuple[str, str, str]]:
    return list(zip(listed["item_id"][:SHOWN], listed["path"][:SHOWN], listed["label"][:SHOWN], strict=True))
