"""A ``.npy`` file that is filled block by block, with constant memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError

# Rows of features that are copied, checked or hashed at a time: 8 MB for resnet18.
BLOCK_ROWS = 4096


@contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into one line for the user."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the feature store must be readable, writable and have free space, got {error.strerror or error} at "
            f"{path}; "
            "free disk space, or pass cache_dir with another folder"
        ) from error


class RowFile:
    """A float32 ``.npy`` file that is filled block by block, by one or several processes.

    It writes instead of memory-mapping: written pages do not count as the process's memory, and a full disk raises an
    error, whereas a write to a map would kill the process.

    Args:
        path: The file; created at full size if it does not exist.
        shape: ``(n_rows, n_columns)``.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._path = path
        with readable_errors(path):
            if not path.exists():
                _allocate(path, shape)
            self._file = path.open("r+b", buffering=0)
        self._offset = path.stat().st_size - shape[0] * shape[1] * 4

    def write(self, rows: NDArray[np.int64], block: NDArray[np.float32]) -> None:
        """Write a block's rows to their positions.

        Args:
            rows: Increasing row numbers, ``(n_block_rows,)``.
            block: ``(n_block_rows, n_columns)``.
        """
        block = np.ascontiguousarray(block, dtype="<f4")
        written = 0
        with readable_errors(self._path):
            for run in runs_of(rows):  # usually one
                self._file.seek(self._offset + int(run[0]) * self.shape[1] * 4)
                _write_whole(self._file.fileno(), block[written : written + len(run)])
                written += len(run)

    def close(self) -> None:
        """Close the file."""
        with readable_errors(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def runs_of(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the runs of consecutive numbers in increasing row numbers.

    Example:
        >>> [run.tolist() for run in runs_of(np.array([0, 1, 4, 5, 9]))]
        [[0, 1], [4, 5], [9]]
    """
    return [run for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(run)]


def drop_rows(path: Path, kept: NDArray[np.int64]) -> None:
    """Keep only the given rows of a ``.npy`` file, a block at a time.

    Args:
        path: A two-dimensional float32 ``.npy`` file.
        kept: Increasing row numbers.
    """
    rows = np.load(path, mmap_mode="r")
    shorter = path.with_suffix(".shorter")
    with RowFile(shorter, (len(kept), rows.shape[1])) as file:
        for first in range(0, len(kept), BLOCK_ROWS):
            chunk = kept[first : first + BLOCK_ROWS]
            file.write(np.arange(first, first + len(chunk)), rows[chunk])
    with readable_errors(path):
        shorter.replace(path)


def _allocate(path: Path, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        n_bytes = shape[0] * shape[1] * 4
        # Allocating all space first reveals a full disk before hours of work, not after.
        if hasattr(os, "posix_fallocate") and n_bytes:
            os.posix_fallocate(file.fileno(), file.tell(), n_bytes)
        else:
            file.truncate(file.tell() + n_bytes)


def _write_whole(descriptor: int, block: NDArray[np.float32]) -> None:
    rest = block.data.cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
