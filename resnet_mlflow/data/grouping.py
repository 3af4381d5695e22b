"""Groups requested by the user: images of one patient, place or burst, which no draw may split."""

import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, regrouped
from resnet_mlflow.data.decoding import read_exif
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.errors import InputError, nearest, shown

logger = logging.getLogger(__name__)

BURST = "exif_burst"
# EXIF 2.3: the camera, and when the picture was taken, or else last changed.
_MAKE, _MODEL, _CHANGED, _DETAILS, _TAKEN, _SERIAL = 0x010F, 0x0110, 0x0132, 0x8769, 0x9003, 0xA431
_TO_THE_MINUTE = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d")


def group_images(dataset: ImageDataset, group_by: str) -> ImageDataset:
    """Return a dataset in which images that have ``group_by`` in common form a group, as do copies of one image.

    Args:
        dataset: The dataset from its loader.
        group_by: Name of a column of its table; ``exif_burst``, the camera and the minute of a picture; or a regular
            expression for the path relative to the dataset's folder: images with equal captured groups (or whole match)
            form a group. Each image without a value is its own group.

    Raises:
        InputError: If no image has a value, all images are one group, or groups keep a class on one side of a draw.
    """
    keys = _keys(dataset, group_by)
    n_keyed = sum(map(bool, keys))
    if not n_keyed:
        raise InputError(
            f"group_by must match at least one image, got {shown(group_by)}, {_nothing(dataset, group_by)}"
        )
    ids = np.concatenate([split.item_ids for split in dataset.given.values()])
    numbers = number_groups(ids, np.array(keys))
    n_groups = int(numbers.max()) + 1
    if n_groups < 2:
        raise InputError(
            f"group_by must divide the images, got {shown(group_by)}, which puts all {len(keys)} images of "
            f"{dataset.name} in one group{_common(keys)}; group by something that differs between images"
        )
    grouped = regrouped(dataset, numbers, _names(numbers, keys))
    n_alone = len(keys) - n_keyed
    alone = f"; {n_alone} without it are in groups of their own, together with their copies" if n_alone else ""
    logger.info("%s: %d images in %d groups by %s%s", dataset.name, len(keys), n_groups, shown(group_by), alone)
    return grouped


def _keys(dataset: ImageDataset, group_by: str) -> list[str]:
    splits = list(dataset.given.values())
    if group_by.lower() in splits[0].columns:
        return [value for split in splits for value in split.columns[group_by.lower()]]
    if all(split.paths is None for split in splits):
        raise InputError(
            f"group_by needs images in files, or a table, got {shown(group_by)} for {dataset.name}; leave it out"
        )
    if group_by == BURST:
        return _bursts([path for split in splits for path in split.paths or ()])
    try:
        pattern = re.compile(group_by)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"group_by must be a column, {BURST} or a regular expression, got {shown(group_by)} ({error}); "
            "fix it, such as patient_([0-9]+)"
        ) from None
    return [_matched(pattern, path) for split in splits for path in dataset.relative_paths(split)]


def _matched(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path)
    if match is None:
        return ""
    groups = match.groups() or (match.group(),)
    return "/".join(group or "" for group in groups) if any(groups) else ""


def _bursts(paths: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_burst, paths, chunksize=64))


def _burst(path: Path) -> str:
    """Return camera and minute of a picture, ``Canon EOS 5D 2024:05:01 10:32``; empty if it has no time."""
    with suppress(Exception):  # a damaged entry can make Pillow raise anything
        exif = read_exif(path)
        details = exif.get_ifd(_DETAILS)
        minute = _TO_THE_MINUTE.match(str(details.get(_TAKEN) or exif.get(_CHANGED) or ""))
        camera = [
            str(value).strip("\0 ") for value in (exif.get(_MAKE), exif.get(_MODEL), details.get(_SERIAL)) if value
        ]
        return " ".join([*camera, minute.group()]) if minute else ""
    return ""


def _names(numbers: NDArray[np.int64], keys: Sequence[str]) -> list[str]:
    names = [""] * (int(numbers.max()) + 1)
    for number, key in zip(numbers.tolist(), keys, strict=True):
        names[number] = names[number] or key
    return names


def _common(keys: Sequence[str]) -> str:
    found = sorted(set(keys) - {""})
    return f" ({shown(found[0])})" if len(found) == 1 else ""


def _nothing(dataset: ImageDataset, group_by: str) -> str:
    first: ImageSplit = next(iter(dataset.given.values()))
    columns = list(first.columns)
    if group_by.lower() in columns:
        return f"an empty column of {dataset.name}; group by another"
    if group_by == BURST:
        return f"but no image of {dataset.name} has its time in the EXIF data; group by something else"
    known = f"; columns are {', '.join(columns)}" if columns else ""
    example = dataset.relative_paths(first.select([0]))[0]
    hint = nearest(group_by, [*columns, BURST])
    return f"which is not a column and matches no path, such as {shown(example)}{known}{hint or '; fix it'}"


def named_groups(dataset: ImageDataset, split: ImageSplit) -> list[str]:
    """Return the shared value of each image's group; without one, the first digits of its content id.

    If each image of the dataset is its own group, texts are empty.
    """
    names = dataset.group_names
    if not names and not dataset.has_groups:
        return [""] * len(split)
    return [
        (names[number] if names else "") or item_id[:12]
        for number, item_id in zip(split.groups.tolist(), split.item_ids.tolist(), strict=True)
    ]
