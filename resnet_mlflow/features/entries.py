"""Entries of a feature store as files: protected by checksums, and treated as untrusted when read."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.features.identity import FeatureSet, FeatureSplit
from resnet_mlflow.features.row_file import BLOCK_ROWS
from resnet_mlflow.files.digests import file_sha256

KEY = re.compile(r"[0-9A-Za-z]{1,64}")
# The only file names that an entry's checksums may contain; names become paths.
FILE = re.compile(r"(train|val|test)\.(features|labels|ids)\.npy")
# File names also allowed for an entry in transit: features from a row number on.
SHARD = re.compile(r"(train|val|test)\.features\.(\d{8,12})\.npy")
# Rows of a split sent in one file: 100 MB for resnet18, 400 MB for resnet50.
SHARD_ROWS = 50_000
META = "meta.json"
MAX_META_BYTES = 2**28  # one line per omitted image


class DamagedEntryError(Exception):
    """A damaged entry of the store."""


@dataclass(frozen=True)
class Expected:
    """Requirements on features from elsewhere.

    Attributes:
        key: Their key.
        splits: The images, by split.
        class_names: Names of the classes 0, 1, ...
        n_features: Length of a feature vector.
    """

    key: str
    splits: Mapping[str, ImageSplit]
    class_names: tuple[str, ...]
    n_features: int

    @property
    def max_bytes(self) -> int:
        """Return the maximum total size of an entry's files."""
        # Per image: a float32 per feature, a label, an id of 32 characters, and a line if it was left out.
        return MAX_META_BYTES // 16 + sum(map(len, self.splits.values())) * (4 * self.n_features + 8 + 128 + 1024)


def seal_entry(folder: Path, content: Mapping[str, Any], key: str) -> None:
    """Write an entry's metadata with the checksums of its files and of itself."""
    write_meta(folder / META, content, key, {file.name: file_sha256(file) for file in sorted(folder.glob("*.npy"))})


def write_meta(file: Path, content: Mapping[str, Any], key: str, checksums: Mapping[str, str]) -> None:
    """Write an entry's metadata with the checksums of files and its own."""
    meta = {name: value for name, value in content.items() if name != "checksums"} | {"features_key": key}
    meta["checksums"] = {**checksums, "meta": _meta_checksum(meta)}
    file.write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_entry(folder: Path, key: str) -> FeatureSet:
    """Return the checked content of an entry's folder.

    Raises:
        DamagedEntryError: If it is not what was written, or the entry of another key.
        FileNotFoundError: If there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    meta = read_meta(folder / META, key, [FILE])
    checksums = {name: checksum for name, checksum in meta["checksums"].items() if name != "meta"}
    wrong = [name for name, checksum in checksums.items() if checksum != _actual(folder / name)]
    if wrong:
        raise DamagedEntryError(f"damaged features in {folder}: wrong checksum of {', '.join(wrong)[:200]}")
    return FeatureSet(key, read_splits(folder, checksums), meta)


def read_splits(folder: Path, names: Iterable[str]) -> dict[str, FeatureSplit]:
    """Return by name the splits whose features are in a folder.

    Raises:
        DamagedEntryError: If the files do not hold valid arrays.
    """
    splits = dict.fromkeys(name.split(".")[0] for name in names if ".features." in name)
    return {name: _read_split(folder, name) for name in splits}


def check_entry(found: FeatureSet, expected: Expected) -> None:
    """Refuse features that do not match the expected images row by row, apart from those left out.

    Raises:
        DamagedEntryError: If a split, label, id, class, count or shape differs, or a feature is not a number.
    """
    if set(found.splits) != set(expected.splits) or found.meta.get("class_names") != list(expected.class_names):
        raise DamagedEntryError("its splits or classes differ")
    left_out = left_out_rows(found.meta.get("skipped"), expected)
    for name, images in expected.splits.items():
        kept = np.setdiff1d(np.arange(len(images)), left_out[name])
        split = found.splits[name]
        if not np.array_equal(split.labels, images.labels[kept]) or not np.array_equal(
            split.item_ids, images.item_ids[kept]
        ):
            raise DamagedEntryError(f"its {name} items or labels differ")
        if split.features.shape != (len(kept), expected.n_features):
            raise DamagedEntryError(f"its {name} features have shape {split.features.shape}")
        blocks = range(0, len(kept), BLOCK_ROWS)
        if not all(bool(np.isfinite(split.features[first : first + BLOCK_ROWS]).all()) for first in blocks):
            raise DamagedEntryError(f"its {name} features hold NaN or infinity")


def left_out_rows(skipped: Any, expected: Expected) -> dict[str, list[int]]:
    """Return the rows of images that an entry omits, by split.

    Raises:
        DamagedEntryError: If the dataset has no such images.
    """
    rows: dict[str, list[int]] = {name: [] for name in expected.splits}
    try:
        for item in skipped:
            if not isinstance(item["path"], str) or not isinstance(item["reason"], str):
                raise TypeError
            rows[item["split"]].append(range(len(expected.splits[item["split"]]))[item["row"]])
    except (TypeError, KeyError, IndexError):
        raise DamagedEntryError("its list of skipped images belongs to other images") from None
    return rows


def read_meta(file: Path, key: str, names: Sequence[re.Pattern[str]]) -> dict[str, Any]:
    """Return an entry's metadata, verified by its own checksum; the files that it names are not checked.

    Args:
        file: Its ``meta.json``.
        key: Key that the entry must have.
        names: Allowed file names, besides the standard ones.

    Raises:
        DamagedEntryError: If it is not what was written, of another key, or names other files.
    """
    try:
        if file.stat().st_size > MAX_META_BYTES:
            raise ValueError("too large")
        meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        checksums: dict[str, Any] = {str(name): checksum for name, checksum in meta["checksums"].items()}
        named = [name for name in checksums if name != "meta" and not any(one.fullmatch(name) for one in names)]
        if checksums["meta"] != _meta_checksum(meta):
            named.append("meta")
        found = meta["features_key"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedEntryError(f"damaged features in {file.parent}: {file.name} cannot be read") from error
    if named:
        raise DamagedEntryError(f"damaged features in {file.parent}: wrong checksum of {', '.join(named)[:200]}")
    if key != found:
        raise DamagedEntryError(f"damaged features in {file.parent}: they are those of {found!r:.100}")
    return meta


def _actual(file: Path) -> str:
    return file_sha256(file) if file.is_file() else "missing"


def _meta_checksum(meta: dict[str, Any]) -> str:
    rest = {name: value for name, value in meta.items() if name != "checksums"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _read_split(folder: Path, name: str) -> FeatureSplit:
    try:
        # Memory-mapped first: a header that announces more than the file holds is refused before memory is allocated.
        features, labels, ids = (
            np.load(folder / f"{name}.{part}.npy", mmap_mode="r", allow_pickle=False)
            for part in ("features", "labels", "ids")
        )
    except (FileNotFoundError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise DamagedEntryError(f"damaged features in {folder}: {name} contains no arrays") from error
    kinds = [(array.dtype.str, array.ndim) for array in (features, labels, ids)]
    if kinds != [("<f4", 2), ("<i8", 1), ("<U32", 1)] or not len(features) == len(labels) == len(ids):
        raise DamagedEntryError(f"damaged features in {folder}: {name} holds arrays of {kinds}")
    return FeatureSplit(features, np.array(labels), np.array(ids))
