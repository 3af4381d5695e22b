"""Cached facts about the files of a folder, kept between starts as a table in its own file."""

import logging
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Values that change with a file: two files that swap places differ in inode or change time.
STAMPS = ("size", "mtime_ns", "inode", "ctime_ns")
# A checksum of some of its bytes, and its size in pixels, 0 if unknown.
FACTS = ("sample", "width", "height")
_END = "\0"


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table with one row per file.

    Attributes:
        paths: Paths as text.
        stamps: ``(n_files, 4)``, see ``STAMPS``.
        ids: Content ids, ``(n_files,)``.
        facts: ``(n_files, 3)``, see ``FACTS``.
    """

    paths: Sequence[str]
    stamps: NDArray[np.int64]
    ids: NDArray[np.str_]
    facts: NDArray[np.int64]

    def rows_of(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each file, or -1 if it is unknown."""
        rows = {path: row for row, path in enumerate(self.paths)}
        return np.array([rows.get(path, -1) for path in paths], dtype=np.int64)


def empty_manifest() -> Manifest:
    """Return a manifest without files."""
    return Manifest((), np.empty((0, 4), np.int64), np.empty(0, "<U32"), np.empty((0, 3), np.int64))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; it is empty if the file is missing or, with a warning, damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            text = stored["paths"].tobytes().decode("utf-8", "surrogateescape")
            paths = text.split(_END)[:-1]
            found = Manifest(paths, stored["stamps"], stored["ids"].astype("<U32"), stored["facts"])
    except FileNotFoundError:
        return empty_manifest()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, MemoryError, zipfile.BadZipFile):
        return _damaged(path)
    shapes = (found.stamps.shape, found.ids.shape, found.facts.shape)
    n = len(paths)
    is_whole = shapes == ((n, len(STAMPS)), (n,), (n, len(FACTS)))
    return found if is_whole and found.stamps.dtype == found.facts.dtype == np.int64 else _damaged(path)


def _damaged(path: Path) -> Manifest:
    logger.warning("the cache of file hashes is damaged and will be rewritten: %s", path)
    return empty_manifest()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the file, or warn on failure: it only saves time."""
    text = "".join(f"{file}{_END}" for file in manifest.paths).encode("utf-8", "surrogateescape")
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            np.savez(
                file,
                paths=np.frombuffer(text, np.uint8),
                stamps=manifest.stamps,
                ids=manifest.ids.astype("S32"),
                facts=manifest.facts,
            )
        beside.replace(path)
        path.with_suffix(".json").unlink(missing_ok=True)  # left by earlier versions
    except OSError as error:
        logger.warning("the cache of file hashes cannot be written: %s (%s)", path, error.strerror)
        with suppress(OSError):
            beside.unlink()
