"""Image files as splits: the content id of each file, remembered while the file stays as it is."""

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageSplit, content_id
from resnet_mlflow.data.decoding import BadImageError, image_format

logger = logging.getLogger(__name__)

_FILES_TRIED, _FILES_PER_TASK = 32, 256
# A file of 32 x 32 pixels takes 0.013 ms from the system's memory, a photograph of 110 kB 0.12 ms.
_NEAR_AND_SMALL_S = 5e-5

# An image file and its label, before anybody looked into it.
LabelledPaths = list[tuple[Path, int]]


def splits_of_files(
    listed: Mapping[str, LabelledPaths], *, manifest: Path, on_bad_image: str
) -> tuple[dict[str, ImageSplit], tuple[Path, ...]]:
    """Return splits of files with their content ids, and the files left out.

    Args:
        listed: Files and labels per split.
        manifest: File that remembers the ids of unchanged files.
        on_bad_image: ``fail`` or ``skip``.

    Raises:
        BadImageError: If a file is no image, and ``on_bad_image`` is ``fail``.
    """
    ids = _identify([path for files in listed.values() for path, _ in files], manifest)
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
        )
    return splits, tuple(error.path for error in bad)


def manifest_path(data_dir: Path, root: Path) -> Path:
    """Return the file under ``data_dir`` that remembers the hashes of the files under ``root``."""
    return data_dir / "manifests" / f"{root.name}-{content_id(str(root).encode())[:12]}.json"


def _identify(paths: Sequence[Path], manifest: Path) -> dict[Path, str | BadImageError]:
    """Return the content id of every file, or what is wrong with it; unchanged files are not read again."""
    remembered = _read_manifest(manifest)
    stamps = {path: _stamp(path) for path in paths}
    ids: dict[Path, str | BadImageError] = {}
    for path, stamp in stamps.items():
        size, mtime_ns, item_id = remembered.get(str(path), (0, 0, ""))
        if item_id and stamp == (size, mtime_ns):
            ids[path] = item_id
    unknown = [path for path in stamps if path not in ids]
    if not unknown:
        return ids
    ids.update(zip(unknown, _hash_all(unknown), strict=True))
    _write_manifest(manifest, {str(path): (*stamps[path], ids[path]) for path in paths if isinstance(ids[path], str)})
    return {path: ids[path] for path in paths}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _hash_all(paths: Sequence[Path]) -> list[str | BadImageError]:
    """Return each file's content id, or what is wrong with it.

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


def _hash_files(paths: Iterable[Path]) -> list[str | BadImageError]:
    return [_hash_file(path) for path in paths]


def _hash_file(path: Path) -> str | BadImageError:
    try:
        data = path.read_bytes()
    except OSError as error:
        return BadImageError(path, error.strerror or str(error))
    if not data:
        return BadImageError(path, "the file is empty")
    if image_format(data[:12]) is None:
        return BadImageError(path, "its first bytes are not those of an image")
    return content_id(data)


def _read_manifest(manifest: Path) -> dict[str, tuple[int, int, str]]:
    try:
        return {path: (entry[0], entry[1], entry[2]) for path, entry in json.loads(manifest.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        logger.warning("the memory of file hashes is damaged and is written anew: %s", manifest)
        return {}


def _write_manifest(manifest: Path, entries: Mapping[str, tuple[object, ...]]) -> None:
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
