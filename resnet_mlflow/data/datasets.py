"""Labelled images and the datasets they form, identified by content. Does not import torch."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.decoding import decode
from resnet_mlflow.data.file_paths import as_file_paths
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.data.splits import check_class_sizes, split_validation
from resnet_mlflow.errors import InputError

# For a dataset without a test split, the drawn one is part of its definition, so no parameter changes it.
TEST_FRACTION = 0.2
TEST_SEED = 0


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """The images of one split: arrays in memory, files, or the content of files.

    Attributes:
        labels: Class indices, shape ``(n_images,)``.
        item_ids: 32 hexadecimal digits per image, equal exactly if the content is equal.
        images: ``(n_images, height, width)`` or ``(n_images, height, width, 3)`` uint8, or None.
        paths: One file per image, or None.
        encoded: The file content per image, or None.
        max_pixels: Files with more pixels according to their header are refused before they are decoded.
        columns: Further columns of a table as texts, by name, such as ``group``.
        group_numbers: Values of ``groups``, if known; shape ``(n_images,)``.
        items: Numbers of the images in the dataset, counted over its splits; None if there is no dataset.
    """

    labels: NDArray[np.int64]
    item_ids: NDArray[np.str_]
    images: NDArray[np.uint8] | None = None
    paths: Sequence[Path] | None = None
    encoded: tuple[bytes, ...] | None = None
    max_pixels: int = MAX_PIXELS
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group_numbers: NDArray[np.int64] | None = None
    items: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        given = [source for source in (self.images, self.paths, self.encoded) if source is not None]
        if len(given) != 1:
            raise ValueError(f"a split must have one of images, paths and encoded, got {len(given)} of them")
        numbers = [part for part in (self.group_numbers, self.items) if part is not None]
        lengths = {len(self.labels), len(self.item_ids), len(given[0]), *map(len, [*self.columns.values(), *numbers])}
        if len(lengths) > 1:
            raise ValueError(f"labels, item_ids, images and columns must have the same length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Return each image's group number, ``(n_images,)``: no draw splits a group; copies are always one group.

        Numbers are valid across the dataset, so that groups can be found in several splits.
        """
        return number_groups(self.item_ids) if self.group_numbers is None else self.group_numbers

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "ImageSplit":
        """Return the split restricted to these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            labels=self.labels[rows],
            item_ids=self.item_ids[rows],
            images=None if self.images is None else self.images[rows],
            paths=None if self.paths is None else as_file_paths(self.paths).take(rows.tolist()),
            encoded=None if self.encoded is None else tuple(self.encoded[row] for row in rows),
            columns={name: tuple(values[row] for row in rows) for name, values in self.columns.items()},
            group_numbers=None if self.group_numbers is None else self.group_numbers[rows],
            items=None if self.items is None else self.items[rows],
        )

    def read_image(self, row: int) -> NDArray[np.uint8]:
        """Return one image at its own size, ``(height, width, 3)``, upright.

        Raises:
            BadImageError: If its file cannot be decoded.
        """
        if self.paths is not None:
            return decode(self.paths[row], max_pixels=self.max_pixels)
        if self.encoded is not None:
            return decode(Path(f"row {row}"), self.encoded[row], self.max_pixels)
        assert self.images is not None
        image = self.images[row]
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


class Skipped(NamedTuple):
    """A file that was left out because it is not an image.

    Attributes:
        path: Where it is, or where it was expected.
        reason: Why it is not an image.
        split: The split that it would be in: one of the dataset's own, or ``all``.
        label: Class index.
    """

    path: Path
    reason: str
    split: str
    label: int


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Splits of labelled images that share their classes.

    Attributes:
        name: The name that the user gave, such as ``folder:/data/birds``.
        short_name: Short form for run names, such as ``birds``.
        class_names: One per class, in the order of the labels.
        splits: ``train`` and ``test``, and ``val`` if the dataset has its own.
        digest: 32 hexadecimal digits over class names, and the item ids and labels of every split.
        default_image_size: Side in pixels to resize to, unless the user sets one.
        source: Where the images come from, for display.
        skipped: Files left out because they are not images.
        given: The splits before another was drawn from them or images were left out; ``all`` if there were none.
        root: The folder that paths are relative to; None if images are not files.
        group_names: By group number, what its images have in common by ``group_by``; empty if not specified.
        n_left_out: Number of images of ``given`` that are in no split, by reason.
        corrected_from: Digest of the dataset before corrections; empty without corrections.
    """

    name: str
    short_name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, ImageSplit]
    digest: str
    default_image_size: int
    source: str
    skipped: tuple[Skipped, ...] = ()
    given: Mapping[str, ImageSplit] = field(default_factory=dict)
    root: Path | None = None
    group_names: tuple[str, ...] = ()
    n_left_out: Mapping[str, int] = field(default_factory=dict)
    corrected_from: str = ""

    @property
    def test_is_drawn(self) -> bool:
        """Return whether the dataset came without a test split, so that ``test`` was drawn from all images."""
        return "all" in self.given

    @property
    def n_skipped(self) -> int:
        """Return how many files were left out because they are not images."""
        return len(self.skipped)

    @property
    def skipped_paths(self) -> tuple[Path, ...]:
        """Return the files left out because they are not images."""
        return tuple(one.path for one in self.skipped)

    def class_counts(self, split: str) -> dict[str, int]:
        """Return the number of images per class name in a split."""
        counts = np.bincount(self.splits[split].labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def n_duplicates_across_splits(self) -> dict[str, int]:
        """Return how many images of the second split are also in the first, for each pair that shares any."""
        return _shared({name: split.item_ids for name, split in self.splits.items()})

    @property
    def n_groups_across_splits(self) -> dict[str, int]:
        """Return how many images of the second split are in a group that the first also has, for pairs with any."""
        return _shared({name: split.groups for name, split in self.splits.items()})

    @property
    def n_groups(self) -> int:
        """Return the number of groups over all splits."""
        return len({number for split in self.splits.values() for number in split.groups.tolist()})

    def relative_paths(self, split: ImageSplit) -> list[str]:
        """Return a split's files relative to the dataset's folder; empty texts if the images are not files."""
        return relative_paths(split.paths, self.root, len(split))

    @cached_property
    def has_groups(self) -> bool:
        """Return whether any two images, in any splits, share a group."""
        return self.n_groups < sum(map(len, self.splits.values()))


def split_of_arrays(images: NDArray[np.uint8], labels: Iterable[int]) -> ImageSplit:
    """Return a split of images in memory, with ids from shape and pixels."""
    shape = str(images.shape[1:]).encode()
    ids = [content_id(shape, np.ascontiguousarray(image).data) for image in images]
    return ImageSplit(np.array(labels, dtype=np.int64), np.array(ids, dtype="<U32"), images=images)


def build_dataset(
    *,
    name: str,
    class_names: Iterable[str],
    splits: Mapping[str, ImageSplit],
    default_image_size: int,
    source: str,
    short_name: str = "",
    skipped: Iterable[Skipped] = (),
    root: Path | None = None,
) -> ImageDataset:
    """Return a checked dataset with its digest; a single split ``all`` is divided into train and test.

    Copies of an image form one group and stay on one side of that draw.

    Raises:
        InputError: If there are fewer than 2 classes, or a class has too few training images.
    """
    class_names = tuple(class_names)
    if len(class_names) < 2:
        raise InputError(f"a dataset must have at least 2 classes, got {len(class_names)} in {name}; add a class")
    numbers = number_groups(np.concatenate([split.item_ids for split in splits.values()]))
    given = _numbered(splits, numbers)
    divided = divide(given, class_names)
    return ImageDataset(
        name=name,
        short_name=short_name or name,
        class_names=class_names,
        splits=divided,
        digest=dataset_digest(class_names, divided),
        default_image_size=default_image_size,
        source=source,
        skipped=tuple(skipped),
        given=given,
        root=root,
    )


def divide(given: Mapping[str, ImageSplit], class_names: Sequence[str]) -> dict[str, ImageSplit]:
    """Return splits with numbered images; a test split is drawn if there is only ``all``.

    Raises:
        InputError: If a class has too few training images or groups.
    """
    splits = dict(given)
    if "all" in splits:
        whole = splits["all"]
        check_class_sizes(whole.labels, class_names, n_min=2, purpose="to split")
        check_class_sizes(whole.labels, class_names, n_min=3, purpose="where one is to test and one to validate")
        # Two groups of each class stay in training: validation will need one.
        rows = split_validation(whole.labels, TEST_FRACTION, TEST_SEED, class_names, whole.groups, n_keep=2)
        splits = {"train": whole.select(rows[0]), "test": whole.select(rows[1])}
    check_class_sizes(splits["train"].labels, class_names, n_min=1 if "val" in splits else 2)
    numbers = np.split(np.arange(sum(map(len, splits.values()))), np.cumsum([*map(len, splits.values())])[:-1])
    return {name: replace(split, items=own) for (name, split), own in zip(splits.items(), numbers, strict=True)}


def regrouped(dataset: ImageDataset, numbers: NDArray[np.int64], group_names: Sequence[str]) -> ImageDataset:
    """Return a dataset with these groups; a drawn test split is drawn again.

    Args:
        dataset: Result of ``build_dataset``.
        numbers: Number of each image's group, over ``dataset.given``, ``(n_images,)``.
        group_names: Names by number, see ``ImageDataset``.

    Raises:
        InputError: If groups keep a class on one side of a draw.
    """
    given = _numbered(dataset.given, numbers)
    splits = divide(given, dataset.class_names)
    digest = dataset_digest(dataset.class_names, splits)
    return replace(dataset, given=given, splits=splits, digest=digest, group_names=tuple(group_names))


def _numbered(splits: Mapping[str, ImageSplit], numbers: NDArray[np.int64]) -> dict[str, ImageSplit]:
    parts = np.split(numbers, np.cumsum([*map(len, splits.values())])[:-1])
    return {name: replace(split, group_numbers=own) for (name, split), own in zip(splits.items(), parts, strict=True)}


def _shared(keys: Mapping[str, NDArray[np.generic]]) -> dict[str, int]:
    # By lookup, not sorting, which is many times slower for texts.
    known = {name: set(values.tolist()) for name, values in keys.items()}
    counts = {
        f"{first}/{second}": sum(value in known[first] for value in keys[second].tolist())
        for first, second in combinations(keys, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def relative_paths(paths: Iterable[Path] | None, root: Path | None, n_images: int) -> list[str]:
    """Return paths relative to a folder, with slashes; full paths for files outside, empty texts for no files."""
    if paths is None:
        return [""] * n_images
    start = f"{root}{os.sep}" if root else ""
    return [path.removeprefix(start).replace(os.sep, "/") for path in as_file_paths(paths).texts]


def content_id(*parts: bytes | memoryview) -> str:
    """Return the BLAKE2b digest of the parts, 32 hexadecimal digits.

    Example:
        >>> content_id(b"ab", b"c") == content_id(b"abc")
        True
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def dataset_digest(class_names: Sequence[str], splits: Mapping[str, ImageSplit]) -> str:
    """Return 32 hexadecimal digits over class names and content, independent of the order of items."""
    parts = [json.dumps(list(class_names))]
    for name in sorted(splits):
        pairs = zip(splits[name].item_ids.tolist(), splits[name].labels.tolist(), strict=True)
        parts.append(name)
        parts.extend(sorted(f"{item_id} {label}" for item_id, label in pairs))
    return content_id("\n".join(parts).encode())
