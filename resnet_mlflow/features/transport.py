"""Transport of feature store entries: files are sent and fetched one by one, large splits in shards."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.features.entries import (
    META,
    SHARD,
    SHARD_ROWS,
    DamagedEntryError,
    Expected,
    left_out_rows,
    write_meta,
)
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.spans import begin_split, copy_rows
from resnet_mlflow.files.digests import file_sha256

# Maps a file name to a copy of the file, valid within a block.
Lend = Callable[[str], AbstractContextManager[Path]]


def pack(entry: Path, features: FeatureSet, scratch: Path) -> Iterator[Path]:
    """Yield the files of an entry to send, each valid until the next is requested; its metadata come last.

    Args:
        entry: Folder of the entry.
        features: Its content.
        scratch: Folder for temporary files.
    """
    checksums = {}
    for name, split in features.splits.items():
        for file in _features_of(entry, name, split.features, scratch):
            checksums[file.name] = file_sha256(file)
            yield file
        for file in (entry / f"{name}.labels.npy", entry / f"{name}.ids.npy"):
            checksums[file.name] = file_sha256(file)
            yield file
    write_meta(scratch / META, features.meta, features.key, checksums)
    yield scratch / META


def shard_name(split: str, first: int) -> str:
    """Return the name of the file with a split's features from a given row on."""
    return f"{split}.features.{first:08d}.npy"


def _features_of(entry: Path, name: str, features: NDArray[np.float32], scratch: Path) -> Iterator[Path]:
    if len(features) <= SHARD_ROWS:
        yield entry / f"{name}.features.npy"
        return
    for first in range(0, len(features), SHARD_ROWS):
        file = scratch / shard_name(name, first)
        np.save(file, features[first : first + SHARD_ROWS])
        yield file
        file.unlink()


def unpack(folder: Path, meta: Mapping[str, Any], lend: Lend, expected: Expected) -> None:
    """Fill the folder of an incomplete entry; existing shards are not fetched again.

    Args:
        folder: Folder of the entry.
        meta: Metadata of the entry.
        lend: Provides each file that the metadata name.
        expected: Requirements on the content.

    Raises:
        DamagedEntryError: If a file is not what was sent, or the files do not form the splits.
    """
    others = [name for name in meta["checksums"] if name != "meta" and name.split(".")[0] not in expected.splits]
    if others:
        raise DamagedEntryError(f"damaged features: they have other splits, {', '.join(others)[:200]}")
    left_out = left_out_rows(meta.get("skipped"), expected)
    for split, images in expected.splits.items():
        _take_features(folder, split, (len(images) - len(set(left_out[split])), expected.n_features), meta, lend)
        for name in (f"{split}.labels.npy", f"{split}.ids.npy"):
            with lend(_named(name, meta)) as file:
                _check(file, name, meta)
                shutil.copyfile(file, folder / name)


def _take_features(folder: Path, split: str, shape: tuple[int, int], meta: Mapping[str, Any], lend: Lend) -> None:
    done = begin_split(folder, split, shape)
    shards = _shards_of(split, meta, shape[0])
    for (first, name), stop in zip(shards, [*(first for first, _ in shards[1:]), shape[0]], strict=True):
        if done.covers(first, stop):
            continue
        with lend(name) as file:
            _check(file, name, meta)
            block = load_block(file, name, (stop - first, shape[1]))
            copy_rows(folder, split, shape, range(first, stop), block)


def _shards_of(split: str, meta: Mapping[str, Any], n_rows: int) -> list[tuple[int, str]]:
    named = [SHARD.fullmatch(name) for name in meta["checksums"]]
    shards = sorted((int(one[2]), one[0]) for one in named if one is not None and one[1] == split)
    shards = shards or [(0, _named(f"{split}.features.npy", meta))]
    if shards[0][0] != 0 or shards[-1][0] >= n_rows:
        raise DamagedEntryError(f"damaged features: {split} begins in {shards[0][1]} and ends in {shards[-1][1]}")
    return shards


def load_block(file: Path, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the features in a file that came from elsewhere, as a memory map.

    Raises:
        DamagedEntryError: If it holds anything else.
    """
    try:
        # Memory-mapped first: a header that announces more than the file holds is refused before memory is allocated.
        block: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise DamagedEntryError(f"damaged features: {name} holds no array") from error
    if block.dtype.str != "<f4" or block.shape != shape:
        raise DamagedEntryError(f"damaged features: {name} has shape {block.shape} of {block.dtype}, not {shape}")
    return block


def _named(name: str, meta: Mapping[str, Any]) -> str:
    if name not in meta["checksums"]:
        raise DamagedEntryError(f"damaged features: they have no {name}")
    return name


def _check(file: Path, name: str, meta: Mapping[str, Any]) -> None:
    if file_sha256(file) != meta["checksums"][name]:
        raise DamagedEntryError(f"damaged features: wrong checksum of {name}")
