"""Folds of a dataset for cross-validation: which images form its pool, and which of them each fold holds out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.file_paths import FilePaths
from resnet_mlflow.errors import InputError

# Minimum items per class in a fold's training data: one to fit on and one to validate on.
LEAST_TO_TRAIN = 2


def draw_folds(
    labels: NDArray[np.int64],
    folds: int,
    seed: int,
    class_names: Sequence[str] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the fold that holds out each item, with each class spread over all folds as evenly as groups allow.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        folds: Number of folds, at least 2.
        seed: Seed of the draw.
        class_names: Names of all classes, for errors.
        groups: Items with equal numbers stay in one fold, shape ``(n_items,)``; None means that each item is its own
            group.

    Returns:
        Fold of each item, in ``[0, folds)``.

    Raises:
        InputError: If a class has fewer items or groups than folds, or fewer than 2 items outside any one fold.

    Example:
        >>> draw_folds(np.array([0, 0, 0, 0, 1, 1, 1, 1]), folds=2, seed=0)
        array([1, 1, 0, 0, 0, 1, 0, 1])
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = np.asarray(labels)
    names = [str(label) for label in np.unique(labels)] if class_names is None else list(class_names)
    own = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    _check_groups(labels, own, folds, names)
    grouped = len(np.unique(own)) < len(own)
    splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(labels), dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels, own if grouped else None)):
        fold_of[held_out] = fold
    _check_training_parts(labels, fold_of, folds, names)
    return fold_of


def _check_groups(labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, names: Sequence[str]) -> None:
    # One row per class and group: counts the groups of each class.
    pairs = np.unique(np.column_stack([labels, groups]), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(names))
    small = int(np.argmin(counts))
    if counts[small] < folds:
        what = "images" if len(pairs) == len(labels) else "groups of images"
        raise InputError(
            f"folds must be at most the {what} of the smallest class, got {folds} for {counts[small]} in class "
            f"{names[small]!r}; lower folds, add images or remove the class"
        )


def _check_training_parts(
    labels: NDArray[np.int64], fold_of: NDArray[np.int64], folds: int, names: Sequence[str]
) -> None:
    for fold in range(folds):
        counts = np.bincount(labels[fold_of != fold], minlength=len(names))
        small = int(np.argmin(counts))
        if counts[small] < LEAST_TO_TRAIN or not (fold_of == fold).any():
            raise InputError(
                f"every class must have at least {LEAST_TO_TRAIN} images outside each fold, one to fit and one to "
                f"validate on, got {counts[small]} in class {names[small]!r}; add images or remove the class"
            )


def pool_names(dataset: ImageDataset) -> tuple[str, ...]:
    """Return the splits whose images form the pool: all except the dataset's own test split, if any."""
    return tuple(name for name in ("train", "val", "test") if name in dataset.splits and _is_of_pool(dataset, name))


def _is_of_pool(dataset: ImageDataset, split: str) -> bool:
    return split != "test" or dataset.test_is_drawn


def pool_of(dataset: ImageDataset) -> ImageSplit:
    """Return the images that cross-validation predicts: all except the dataset's own test split, if any."""
    return joined([dataset.splits[name] for name in pool_names(dataset)])


def joined(splits: Sequence[ImageSplit]) -> ImageSplit:
    """Return several splits of one dataset as one, in their order."""
    fields = dataclasses.fields(ImageSplit)
    return ImageSplit(**{field.name: _joined([getattr(one, field.name) for one in splits]) for field in fields})


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(values)
    if isinstance(first, FilePaths):
        return FilePaths(text for value in values for text in value.texts)
    if isinstance(first, tuple):
        return tuple(part for value in values for part in value)
    if isinstance(first, Mapping):
        return {name: _joined([value[name] for value in values]) for name in first}
    return first


def divide(dataset: ImageDataset, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold that holds out each image of a dataset's pool, in the order of ``pool_of``.

    No group is in two folds, and copies of an image form one group.

    Args:
        dataset: The dataset whose pool is divided.
        folds: Number of folds, at least 2.
        seed: Seed of the draw.

    Raises:
        InputError: As for ``draw_folds``.
    """
    splits = [dataset.splits[name] for name in pool_names(dataset)]
    labels, groups = (np.concatenate([getattr(split, name) for split in splits]) for name in ("labels", "groups"))
    return draw_folds(labels, folds, seed, dataset.class_names, groups)


def fold_of_dataset(dataset: ImageDataset, division: NDArray[np.int64], fold: int) -> ImageDataset:
    """Return a dataset that trains on the pool without a fold and tests on the fold, under its name and digest.

    Args:
        dataset: The dataset whose pool was divided.
        division: Result of ``divide``.
        fold: The fold to hold out.
    """
    pool = pool_of(dataset)
    splits = {
        "train": pool.select(np.flatnonzero(division != fold)),
        "test": pool.select(np.flatnonzero(division == fold)),
    }
    return dataclasses.replace(dataset, splits=splits)
