"""Image files as splits: the content id of each file, remembered while the file stays as it is."""

import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnet_mlflow.data.datasets import ImageSplit, content_id
from resnet_mlflow.data.decoding import BadImageError, read_content, read_size, refuse_large
from resnet_mlflow.data.formats import MAX_PIXELS, N_HEAD, image_format

logger = logging.getLogger(__name__)

_FILES_TRIED, _FILES_PER_TASK = 32, 256
# A file of 32 x 32 pixels takes 0.013 ms from the system's memory, a photograph of 110 kB 0.12 ms.
_NEAR_AND_SMALL_S = 5e-5

# Bytes from the middle and from the end of a file that are compared before its old id is believed.
_SAMPLE = 64
# No limit: what the header tells is remembered, and compared with the limit of the day.
_ANY_SIZE = 2**62

# An image file and its label, before anybody looked into it.
LabelledPaths = list[tuple[Path, int]]


class _Stamp(NamedTuple):
    """What changes when a file does: two files that change places differ in their inodes, or in when that was."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


class _Known(NamedTuple):
    """What is remembered of a file: its content's id, its stamp and sample, and its size in pixels, 0 where unknown."""

    size: int
    mtime_ns: int
    item_id: str
    inode: int
    ctime_ns: int
    sample: int
    width: int
    height: int

    @property
    def stamp(self) -> _Stamp:
        return _Stamp(self.size, self.mtime_ns, self.inode, self.ctime_ns)


def splits_of_files(
    listed: Mapping[str, LabelledPaths], *, manifest: Path, on_bad_image: str, max_pixels: int = MAX_PIXELS
) -> tuple[dict[str, ImageSplit], tuple[Path, ...]]:
    """Return splits of files with their content ids, and the files left out.

    Args:
        listed: Files and labels per split.
        manifest: File that remembers the ids of unchanged files.
        on_bad_image: ``fail`` or ``skip``.
        max_pixels: Most pixels that an image's header may tell of.

    Raises:
        BadImageError: If a file is no image or too large, and ``on_bad_image`` is ``fail``.
    """
    ids = _identify([path for files in listed.values() for path, _ in files], manifest, max_pixels)
    bad = [error for error in ids.values() if isinstance(error, BadImageError)]
    if bad and on_bad_image == "fail":
        raise bad[0]
    for error in bad:
        logger.warning("skipped: %s (%s)", error.path, error.reason)
    splits = {}
    for split, files in listed.items():
        kept = [(path, label, ids[path]) for path, label in files if not isinstance(ids[path], BadImageError)]
        splits[split] = ImageSplit(
            labels=np.array([label for _, label, _ in kept], dtype=np.int64),
            item_ids=np.array([item_id for _, _, item_id in kept], dtype="<U32"),
            paths=tuple(path for path, _, _ in kept),
            max_pixels=max_pixels,
        )
    return splits, tuple(error.path for error in bad)


def manifest_path(data_dir: Path, root: Path) -> Path:
    """Return the file under ``data_dir`` that remembers the hashes of the files under ``root``."""
    # Hidden: data_dir may be a folder of images itself.
    return data_dir / ".manifests" / f"{root.name[:100]}-{content_id(str(root).encode())[:12]}.json"


def default_image_size(split: ImageSplit) -> int:
    """Return 64 where images are about 32 pixels wide, else 224, by a sample of the files' headers."""
    sides = []
    assert split.paths is not None
    for path in split.paths[:: max(1, len(split) // 64)]:
        with suppress(BadImageError):  # decoding will name the file
            sides.append(min(read_size(path)))
    return 64 if sides and np.median(sides) <= 40 else 224


def _identify(paths: Sequence[Path], manifest: Path, max_pixels: int) -> dict[Path, str | BadImageError]:
    """Return the content id of every file, or what is wrong with it; unchanged files are not read again."""
    remembered = _read_manifest(manifest)
    stamps = {path: _stamp(path) for path in paths}
    found: dict[Path, _Known | BadImageError] = {}
    for path, stamp in stamps.items():
        known = remembered.get(str(path))
        if known is not None and known.stamp == stamp and known.sample == _sample_of_file(path, stamp.size):
            found[path] = known
    unknown = [path for path in stamps if path not in found]
    if unknown:
        found.update(zip(unknown, _hash_all([(path, stamps[path]) for path in unknown]), strict=True))
        _write_manifest(manifest, {str(path): found[path] for path in paths if isinstance(found[path], _Known)})
    return {path: _id_within(path, found[path], max_pixels) for path in paths}


def _id_within(path: Path, known: _Known | BadImageError, max_pixels: int) -> str | BadImageError:
    if isinstance(known, BadImageError):
        return known
    try:
        refuse_large(path, (known.width, known.height), max_pixels)
    except BadImageError as error:
        return error
    return known.item_id


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return _Stamp(0, 0, 0, 0)
    return _Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _sample_of(data: bytes) -> int:
    middle = len(data) // 2
    return zlib.crc32(data[middle : middle + _SAMPLE] + data[-_SAMPLE:])


def _sample_of_file(path: Path, size: int) -> int:
    """Return what ``_sample_of`` gives for the file's content; -1 where it cannot be read."""
    with suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called once per file of a folder
        file.seek(size // 2)
        middle = file.read(_SAMPLE)
        file.seek(max(0, size - _SAMPLE))
        return zlib.crc32(middle + file.read(_SAMPLE))
    return -1


def _hash_all(paths: Sequence[tuple[Path, _Stamp]]) -> list[_Known | BadImageError]:
    """Return what is to be known of each file, or what is wrong with it.

    Threads wait for each other's turn at Python: with small files that are near they take three times as long as one.
    They help where files are large or far, which the first files tell.
    """
    started = time.perf_counter()
    ids = _hash_files(paths[:_FILES_TRIED])
    seconds_per_file = (time.perf_counter() - started) / len(ids)
    rest = paths[_FILES_TRIED:]
    if seconds_per_file < _NEAR_AND_SMALL_S:
        return ids + _hash_files(rest)
    tasks = [rest[start : start + _FILES_PER_TASK] for start in range(0, len(rest), _FILES_PER_TASK)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return ids + [found for task in pool.map(_hash_files, tasks) for found in task]


def _hash_files(paths: Iterable[tuple[Path, _Stamp]]) -> list[_Known | BadImageError]:
    return [_hash_file(path, stamp) for path, stamp in paths]


def _hash_file(path: Path, stamp: _Stamp) -> _Known | BadImageError:
    try:
        data = read_content(path)
    except BadImageError as error:
        return error
    if not data:
        return BadImageError(path, "the file is empty")
    if image_format(data[:N_HEAD]) is None:
        return BadImageError(path, "its first bytes are not those of an image")
    width = height = 0
    with suppress(BadImageError):  # decoding will say what is wrong with the header
        width, height = read_size(path, data, _ANY_SIZE)
    size, mtime_ns, inode, ctime_ns = stamp
    return _Known(size, mtime_ns, content_id(data), inode, ctime_ns, _sample_of(data), width, height)


def _read_manifest(manifest: Path) -> dict[str, _Known]:
    try:
        entries = json.loads(manifest.read_bytes()).items()
        # Earlier versions remembered three things of a file, too few to trust.
        return {path: _Known(*entry) for path, entry in entries if len(entry) != 3}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        logger.warning("the memory of file hashes is damaged and is written anew: %s", manifest)
        return {}


def _write_manifest(manifest: Path, entries: Mapping[str, tuple[object, ...] | BadImageError]) -> None:
    beside = manifest.with_suffix(f".{os.getpid()}.tmp")
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(entries))
        beside.replace(manifest)
    except OSError as error:
        # It only saves time: a full or read-only disk must not stop the work.
        logger.warning("the memory of file hashes cannot be written: %s (%s)", manifest, error.strerror)
        with suppress(OSError):
            beside.unlink()
