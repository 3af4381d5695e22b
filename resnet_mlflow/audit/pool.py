"""The images of all splits, one after the other: train, val, test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.audit.measuring import ImageFacts
from resnet_mlflow.data.datasets import ImageDataset, relative_paths
from resnet_mlflow.data.decoding import BadImageError

Ints = NDArray[np.int64]


class NoImage(NamedTuple):
    """A file that is not an image.

    Attributes:
        split: Split that it would be in; empty if splits are drawn.
        path: Path relative to the dataset's folder.
        label: Name of its class.
        reason: Why it is not an image.
    """

    split: str
    path: str
    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class Pool:
    """Images of all splits.

    Attributes:
        class_names: Names of the classes.
        splits: Names of the splits, in order.
        split_index: Index of each image's split, ``(n_images,)``.
        rows: Row of the image in its split, ``(n_images,)``.
        labels: Class indices, ``(n_images,)``.
        item_ids: Content digests, ``(n_images,)``.
        paths: Files relative to the dataset's folder; empty for arrays.
        unreadable: Reasons, by row, of images that cannot be decoded.
        no_images: Files left out of the splits, with the known facts and the reason.
    """

    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    split_index: Ints
    rows: Ints
    labels: Ints
    item_ids: NDArray[np.str_]
    paths: tuple[str, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    no_images: tuple[NoImage, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def split_of(self, row: int) -> str:
        """Return the name of an image's split."""
        return self.splits[int(self.split_index[row])]

    def label_of(self, row: int) -> str:
        """Return the name of an image's class."""
        return self.class_names[int(self.labels[row])]

    def of_split(self, name: str) -> NDArray[np.bool_]:
        """Return which images are in a split, ``(n_images,)``."""
        return np.asarray(self.split_index == (self.splits.index(name) if name in self.splits else -1))


def pool_images(dataset: ImageDataset, unreadable: Mapping[int, str]) -> Pool:
    """Return all images of a dataset.

    Args:
        dataset: The dataset; its splits follow in the order train, val, test.
        unreadable: Reasons by row of the pool.
    """
    splits = tuple(name for name in ("train", "val", "test") if name in dataset.splits)
    sizes = [len(dataset.splits[name]) for name in splits]
    return Pool(
        dataset.class_names,
        splits,
        np.repeat(np.arange(len(splits)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate([dataset.splits[name].labels for name in splits]),
        np.concatenate([dataset.splits[name].item_ids for name in splits]),
        tuple(path for name in splits for path in dataset.relative_paths(dataset.splits[name])),
        dict(unreadable),
        _no_images(dataset),
    )


def _no_images(dataset: ImageDataset) -> tuple[NoImage, ...]:
    paths = relative_paths(dataset.skipped_paths, dataset.root, dataset.n_skipped)
    return tuple(
        NoImage(one.split if one.split in dataset.splits else "", path, dataset.class_names[one.label], one.reason)
        for one, path in zip(dataset.skipped, paths, strict=True)
    )


def join_facts(parts: list[ImageFacts]) -> ImageFacts:
    """Return the facts of several splits concatenated."""
    errors: dict[int, BadImageError] = {}
    n_before = 0
    for part in parts:
        errors |= {n_before + row: error for row, error in part.errors.items()}
        n_before += len(part)
    return ImageFacts(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.formats for part in parts]),
        np.concatenate([part.thumbs for part in parts]),
        errors,
    )
