"""Finished rows of an incomplete entry, as spans with a checksum each, so that interrupted work can continue."""

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.features.row_file import BLOCK_ROWS, RowFile, readable_errors

logger = logging.getLogger(__name__)

FOLDER = "done"
# Maximum rows lost to a kill: half a second of small images, some minutes of large ones through a deep network.
SPAN_ROWS = 4096
# Incomplete entries untouched for this long are removed when the next entry is written.
KEPT_DAYS = 7
_NAME = re.compile(r"(train|val|test)\.(\d{1,12})-(\d{1,12})\.json")

Skipped = list[dict[str, Any]]


@dataclass(frozen=True)
class Done:
    """Rows of a split that need not be computed.

    Attributes:
        rows: Their numbers, increasing; rows of omitted images are included.
        skipped: Omitted images.
    """

    rows: NDArray[np.int64]
    skipped: Skipped

    def covers(self, first: int, stop: int) -> bool:
        """Return whether all rows from ``first`` to ``stop - 1`` are done."""
        return bool(np.isin(np.arange(first, stop), self.rows).all())


class SpanWriter:
    """Writes rows to a split's file, and records which are done.

    Args:
        folder: Folder of the incomplete entry.
        split: Name of the split.
        shape: Shape of the split's features.
        first: First row of the span.
    """

    def __init__(self, folder: Path, split: str, shape: tuple[int, int], first: int) -> None:
        self.split = split
        self._folder, self._first = folder, first
        self._file = RowFile(folder / f"{split}.features.npy", shape)
        self._digest, self._next = hashlib.sha256(), first

    def write(self, rows: NDArray[np.int64], block: NDArray[np.float32], skipped: Skipped) -> None:
        """Write a block; rows before its last one that were in no block belong to omitted images."""
        self._file.write(rows, block)
        self._digest.update(_bytes(block))
        self._next = int(rows[-1]) + 1
        if self._next - self._first >= SPAN_ROWS:
            self.note(self._next, skipped)

    def note(self, stop: int, skipped: Skipped) -> None:
        """Record that all rows before ``stop`` are done."""
        if stop <= self._first:
            return
        own = [item for item in skipped if self._first <= item["row"] < stop]
        note = {"sha256": self._digest.hexdigest(), "skipped": own}
        path = self._folder / FOLDER / f"{self.split}.{self._first}-{stop}.json"
        with readable_errors(path):
            path.parent.mkdir(exist_ok=True)
            beside = path.with_suffix(".partial")
            beside.write_text(json.dumps(note), encoding="utf-8")
            beside.replace(path)
        self._digest, self._first, self._next = hashlib.sha256(), stop, stop

    def close(self, skipped: Skipped) -> None:
        """Close the file, and record the finished rows if the work ended early."""
        with suppress(InputError):  # Another error is already being reported.
            self.note(self._next, skipped)
        self._file.close()


def begin_split(folder: Path, split: str, shape: tuple[int, int]) -> Done:
    """Create the file of a split's features unless there is one to continue, and return its finished rows.

    Args:
        folder: Folder of the entry.
        split: Name of the split.
        shape: Shape of its features.
    """
    done = read_done(folder, split, shape)
    if len(done.rows):
        logger.info("%d of %d images of %s are already extracted", len(done.rows), shape[0], split)
    else:
        (folder / f"{split}.features.npy").unlink(missing_ok=True)
    RowFile(folder / f"{split}.features.npy", shape).close()
    return done


def copy_rows(
    folder: Path,
    split: str,
    shape: tuple[int, int],
    span: range,
    block: NDArray[np.float32],
    skipped: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Copy the features of a span of rows into a split's file, and record them as done.

    Args:
        folder: Folder of the entry.
        split: Name of the split.
        shape: Shape of its features.
        span: The rows.
        block: Features of the rows that were not left out, in order.
        skipped: Omitted images, of any rows.
    """
    left_out = [dict(item) for item in skipped]
    rows = np.setdiff1d(np.arange(span.start, span.stop), [item["row"] for item in left_out])
    writer = SpanWriter(folder, split, shape, span.start)
    try:
        for first in range(0, len(rows), BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            writer.write(rows[part], block[part], left_out)
        writer.note(span.stop, left_out)
    finally:
        writer.close(left_out)


def read_done(folder: Path, split: str, shape: tuple[int, int]) -> Done:
    """Return the rows of a split in an incomplete entry that are intact.

    Args:
        folder: Folder of the entry.
        split: Name of the split.
        shape: Shape of its features.
    """
    try:
        features = np.load(folder / f"{split}.features.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError):
        features = np.empty((0, 0), np.float32)
    if features.shape != shape or features.dtype != np.float32:
        return Done(np.empty(0, np.int64), [])
    rows, skipped = [np.empty(0, np.int64)], []
    for path in (folder / FOLDER).glob(f"{split}.*.json"):
        span = _read_span(path, features)
        if span is not None:
            rows.append(span.rows)
            skipped += span.skipped
    return Done(np.unique(np.concatenate(rows)), skipped)


def _read_span(path: Path, features: NDArray[np.float32]) -> Done | None:
    named = _NAME.fullmatch(path.name)
    if named is None or not int(named[2]) < int(named[3]) <= len(features):
        return None
    rows = np.arange(int(named[2]), int(named[3]))
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        skipped: Skipped = [dict(item) for item in text["skipped"]]
        kept = np.setdiff1d(rows, [item["row"] for item in skipped])
        right = text["sha256"] == _digest(features, kept)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Done(rows, skipped) if right else None


def _digest(features: NDArray[np.float32], rows: NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(rows), BLOCK_ROWS):
        digest.update(_bytes(features[rows[first : first + BLOCK_ROWS]]))
    return digest.hexdigest()


def _bytes(block: NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(block, dtype="<f4").data


def can_go_on(folder: Path) -> bool:
    """Return whether an incomplete entry has rows from which work can continue."""
    newest = max((path.stat().st_mtime for path in (folder / FOLDER).glob("*.json")), default=0.0)
    return time.time() - newest < KEPT_DAYS * 24 * 3600


def forget(folder: Path) -> None:
    """Remove the records of spans from a complete entry."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
