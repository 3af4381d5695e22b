"""Image files as splits: the content id of each file, cached while the file does not change."""

import logging
import os
import random
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import ImageSplit, Skipped, content_id
from resnet_mlflow.data.decoding import BadImageError, read_content, read_size, refuse_large
from resnet_mlflow.data.file_paths import FilePaths
from resnet_mlflow.data.formats import MAX_PIXELS, N_HEAD, image_format
from resnet_mlflow.data.manifest import FACTS, STAMPS, Manifest, read_manifest, write_manifest

logger = logging.getLogger(__name__)

_FILES_TRIED, _FILES_PER_TASK = 32, 256
# From about this many bytes, hashing a file spends more time outside Python's lock than inside.
_LARGE = 32 * 1024
# Share of the time per file that is spent waiting for a disk or a network.
_FAR = 0.5

# Bytes from the middle and from the end of a file that are compared before its old id is trusted, and the number of
# files checked per start: opening 100 000 files takes longer than everything else. Other files are checked at later
# starts.
_SAMPLE, _FILES_SAMPLED = 64, 1000
# No limit: the size from the header is cached, and compared with the current limit.
_ANY_SIZE = 2**62
# Inode numbers have 64 bits, but a non-negative int64 has 63.
_BITS = 2**63 - 1

# An image file's path and label, before the file is read.
LabelledPaths = list[tuple[str, int]]


class _Hashed(NamedTuple):
    """A file's content id, and the values of ``manifest.FACTS``."""

    item_id: str
    sample: int
    width: int
    height: int


def splits_of_files(
    listed: Mapping[str, LabelledPaths], *, manifest: Path, on_bad_image: str, max_pixels: int = MAX_PIXELS
) -> tuple[dict[str, ImageSplit], tuple[Skipped, ...]]:
    """Return splits of files with their content ids, and the files left out.

    Args:
        listed: Files and labels per split.
        manifest: File that caches the ids of unchanged files.
        on_bad_image: ``fail`` or ``skip``.
        max_pixels: Maximum number of pixels according to an image's header.

    Raises:
        BadImageError: If a file is not an image or too large, and ``on_bad_image`` is ``fail``.
    """
    paths = [path for files in listed.values() for path, _ in files]
    ids, bad = _identify(paths, manifest, max_pixels)
    if bad and on_bad_image == "fail":
        raise bad[min(bad)]
    for row in sorted(bad):
        logger.warning("skipped: %s (%s)", bad[row].path, bad[row].reason)
    is_good = np.ones(len(paths), dtype=bool)
    is_good[list(bad)] = False
    splits, start = {}, 0
    for split, files in listed.items():
        rows = np.flatnonzero(is_good[start : start + len(files)])
        splits[split] = ImageSplit(
            labels=np.array([label for _, label in files], dtype=np.int64)[rows],
            item_ids=ids[start + rows],
            paths=FilePaths(files[row][0] for row in rows.tolist()),
            max_pixels=max_pixels,
        )
        start += len(files)
    places = [(split, label) for split, files in listed.items() for _, label in files]
    return splits, tuple(Skipped(bad[row].path, bad[row].reason, *places[row]) for row in sorted(bad))


def manifest_path(data_dir: Path, root: Path) -> Path:
    """Return the file under ``data_dir`` that caches the hashes of the files under ``root``."""
    # Hidden, because data_dir may itself be a folder of images.
    return data_dir / ".manifests" / f"{root.name[:100]}-{content_id(str(root).encode())[:12]}.npz"


def default_image_size(split: ImageSplit) -> int:
    """Return 64 if images are about 32 pixels wide, else 224, from a sample of the files' headers."""
    sides = []
    assert split.paths is not None
    for path in split.paths[:: max(1, len(split) // 64)]:
        with suppress(BadImageError):  # decoding reports the file
            sides.append(min(read_size(path)))
    return 64 if sides and np.median(sides) <= 40 else 224


def _identify(
    paths: Sequence[str], manifest: Path, max_pixels: int
) -> tuple[NDArray[np.str_], dict[int, BadImageError]]:
    """Return the content id of every file, and the errors by position; unchanged files are not read again.

    A path that is listed twice is checked twice.
    """
    remembered = read_manifest(manifest)
    stamps = np.array([_stamp(path) for path in paths], dtype=np.int64).reshape(-1, len(STAMPS))
    rows = remembered.rows_of(paths)
    known = np.flatnonzero(rows >= 0)
    known = known[(remembered.stamps[rows[known]] == stamps[known]).all(axis=1)]
    known = known[_keep_their_bytes(paths, known, stamps[:, 0], remembered.facts[rows[known], 0])]
    ids, facts = np.zeros(len(paths), "<U32"), np.zeros((len(paths), len(FACTS)), np.int64)
    ids[known], facts[known] = remembered.ids[rows[known]], remembered.facts[rows[known]]
    is_new = np.ones(len(paths), dtype=bool)
    is_new[known] = False
    unknown = np.flatnonzero(is_new)
    bad: dict[int, BadImageError] = {}
    for row, found in zip(unknown.tolist(), _hash_all([paths[row] for row in unknown.tolist()]), strict=True):
        if isinstance(found, BadImageError):
            bad[row] = found
        else:
            ids[row], facts[row] = found.item_id, found[1:]
    if len(unknown):
        good = [row for row in range(len(paths)) if row not in bad]
        write_manifest(manifest, Manifest([paths[row] for row in good], stamps[good], ids[good], facts[good]))
    for row in np.flatnonzero(facts[:, 1].astype(float) * facts[:, 2] > max_pixels).tolist():
        try:
            refuse_large(Path(paths[row]), (int(facts[row, 1]), int(facts[row, 2])), max_pixels)
        except BadImageError as error:
            bad[row] = error
    return ids, bad


def _stamp(path: str) -> tuple[int, int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path per file doubles the time
    except OSError:
        return (0, 0, 0, 0)
    return (status.st_size, status.st_mtime_ns, status.st_ino & _BITS, status.st_ctime_ns)


def _keep_their_bytes(
    paths: Sequence[str], rows: NDArray[np.int64], sizes: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether the files at some positions still have the sampled bytes."""
    keep = np.ones(len(rows), dtype=bool)
    step = max(1, len(rows) // _FILES_SAMPLED)
    for number in range(random.randrange(step), len(rows), step):
        row = int(rows[number])
        keep[number] = _sample_of_file(paths[row], int(sizes[row])) == samples[number]
    return keep


def _sample_of(data: bytes) -> int:
    middle = len(data) // 2
    return zlib.crc32(data[middle : middle + _SAMPLE] + data[-_SAMPLE:])


def _sample_of_file(path: str, size: int) -> int:
    """Return the result of ``_sample_of`` for a file's content; -1 if it cannot be read."""
    with suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called once per file of a folder
        file.seek(size // 2)
        middle = file.read(_SAMPLE)
        file.seek(max(0, size - _SAMPLE))
        return zlib.crc32(middle + file.read(_SAMPLE))
    return -1


def _hash_all(paths: Sequence[str]) -> list[_Hashed | BadImageError]:
    """Return the id and facts of each file, or its error.

    Threads wait for Python's lock: for small local files they take four times as long as a single thread. They help if
    files are large or remote, which is measured on the first files.
    """
    ids = _hash_files(paths[:1])  # includes the time of imports
    wall, own = time.perf_counter(), time.thread_time()
    ids += _hash_files(paths[1:_FILES_TRIED])
    wall, own = time.perf_counter() - wall, time.thread_time() - own
    rest = paths[_FILES_TRIED:]
    is_far = wall - own > _FAR * wall
    if not is_far and float(np.median([_stamp(path)[0] for path in paths[:_FILES_TRIED]] or [0])) < _LARGE:
        return ids + _hash_files(rest)
    tasks = [rest[start : start + _FILES_PER_TASK] for start in range(0, len(rest), _FILES_PER_TASK)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return ids + [found for task in pool.map(_hash_files, tasks) for found in task]


def _hash_files(paths: Iterable[str]) -> list[_Hashed | BadImageError]:
    return [_hash_file(path) for path in paths]


def _hash_file(file: str) -> _Hashed | BadImageError:
    path = Path(file)
    try:
        data = read_content(path)
    except BadImageError as error:
        return error
    if not data:
        return BadImageError(path, "the file is empty")
    if image_format(data[:N_HEAD]) is None:
        return BadImageError(path, "its first bytes are not those of an image")
    width = height = 0
    with suppress(BadImageError):  # decoding reports what is wrong with the header
        width, height = read_size(path, data, _ANY_SIZE)
    return _Hashed(content_id(data), _sample_of(data), width, height)
