"""Content-addressed store of features: entries are complete or absent, and verified by checksums.

An entry is a folder ``<root>/features/<key>`` with ``meta.json`` and, per split, ``<split>.features.npy``,
``<split>.labels.npy`` and ``<split>.ids.npy``. It is written next to its final place under a file lock and renamed when
complete. Rows written before a writer was killed or failed stay there, and the next writer continues (``spans``).
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import (
    FILE,
    KEY,
    META,
    SHARD,
    DamagedEntryError,
    Expected,
    check_entry,
    read_entry,
    read_meta,
    read_splits,
    seal_entry,
)
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.row_file import readable_errors
from resnet_mlflow.features.spans import can_go_on, forget
from resnet_mlflow.features.transport import Lend, unpack
from resnet_mlflow.files.locks import holder_of
from resnet_mlflow.files.paths import user_path

logger = logging.getLogger(__name__)


@dataclass
class EntryWriter:
    """An incomplete entry: fill ``folder`` with the arrays and ``meta`` with their origin."""

    folder: Path
    meta: dict[str, Any] = field(default_factory=dict)

    def save(self, split: str, labels: NDArray[np.int64], item_ids: NDArray[np.str_]) -> None:
        """Write a split's labels and item ids."""
        with readable_errors(self.folder):
            np.save(self.folder / f"{split}.labels.npy", np.ascontiguousarray(labels, dtype="<i8"))
            np.save(self.folder / f"{split}.ids.npy", np.ascontiguousarray(item_ids, dtype="<U32"))


class FeatureStore:
    """Features by key, in a folder that any number of processes share.

    Args:
        root: The store's folder; created with the first entry.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the entry's folder, which need not exist.

        Raises:
            ValueError: If the key is not a plain name and would lead out of the store.
        """
        if not KEY.fullmatch(key):
            raise ValueError(f"a feature key must consist of letters and digits, got {key!r:.100}")
        return self.root / "features" / key

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the exclusive right to write the entry; a second process waits here.

        Raises:
            InputError: If the store cannot be written to.
        """
        lock = self._file_lock(key)
        with readable_errors(self.root):
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning("%s writes features %s; waiting for it", holder_of(Path(lock.lock_file)), key)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def get(self, key: str) -> FeatureSet | None:
        """Return the entry, or None if there is none; a damaged one is logged, removed and counts as none.

        Raises:
            InputError: If the entry exists but cannot be read.
        """
        with readable_errors(self.root):
            try:
                return read_entry(self.path(key), key)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except DamagedEntryError as damage:
                logger.warning("%s; removing it and computing it again", damage)
        self._remove_damaged(key)
        return None

    @contextmanager
    def writer(self, key: str) -> Iterator[EntryWriter]:
        """Provide a folder next to the entry's place; it becomes the entry if the block ends without an error.

        After an error the folder stays if it holds finished spans of rows; the next writer gets it.

        Raises:
            InputError: If the disk is full or the store cannot be written to.
        """
        with self.lock(key):
            self._remove_leftovers()
            entry = EntryWriter(self._partial(key))
            try:
                with readable_errors(self.root):
                    entry.folder.mkdir(parents=True, exist_ok=True)
                yield entry
                with readable_errors(self.root):
                    forget(entry.folder)
                    seal_entry(entry.folder, entry.meta, key)
                    if self.path(key).exists():
                        shutil.rmtree(self.path(key))
                    entry.folder.rename(self.path(key))
            finally:
                if not can_go_on(entry.folder):
                    shutil.rmtree(entry.folder, ignore_errors=True)

    def put_from(self, lend: Lend, expected: Expected) -> FeatureSet | None:
        """Return the entry after fetching its files, such as a run's artifacts; None if they belong to another entry.

        Args:
            lend: Provides each file by name. After an error of its own, fetched files stay and the next call continues.
            expected: What it must hold: others may write to the source.

        Raises:
            InputError: If the store cannot be written to.
        """
        key = expected.key
        try:
            with lend(META) as file:
                meta = read_meta(file, key, [FILE, SHARD])
            with self.writer(key) as entry:
                _fill(entry, meta, lend, expected)
        except (OSError, DamagedEntryError) as damage:
            logger.warning("features cannot be used: %s", damage)
            return None
        return self.get(key)

    def _file_lock(self, key: str) -> FileLock:
        # A singleton lock is reentrant for the thread that holds it: writer() inside lock().
        return FileLock(self.path(key).with_suffix(".lock"), is_singleton=True)

    def _partial(self, key: str) -> Path:
        return self.root / "features" / f".{key}.partial"

    def _remove_leftovers(self) -> None:
        """Remove leftovers of killed writers that are not continued: a folder whose lock is free has no writer."""
        for partial in (self.root / "features").glob(".*.partial"):
            key = partial.name[1:].removesuffix(".partial")
            if not KEY.fullmatch(key) or can_go_on(partial):
                continue
            try:
                with self._file_lock(key).acquire(timeout=0):
                    shutil.rmtree(partial, ignore_errors=True)
            except Timeout:
                continue

    def _remove_damaged(self, key: str) -> None:
        try:
            with self.lock(key):
                # Another process may have rebuilt it in the meantime.
                try:
                    read_entry(self.path(key), key)
                except DamagedEntryError:
                    self.path(key).rename(self._partial(key))
                    shutil.rmtree(self._partial(key), ignore_errors=True)
        except (InputError, OSError) as error:
            logger.warning("the damaged entry cannot be removed: %s", error)


def _fill(entry: EntryWriter, meta: dict[str, Any], lend: Lend, expected: Expected) -> None:
    entry.meta = meta
    try:
        unpack(entry.folder, meta, lend, expected)
        splits = read_splits(entry.folder, [file.name for file in entry.folder.glob("*.npy")])
        check_entry(FeatureSet(expected.key, splits, meta), expected)
    except DamagedEntryError:
        forget(entry.folder)  # It will not be continued.
        raise


def default_cache_dir(cache_dir: str) -> Path:
    """Return the absolute folder of the store: the given one, else ``RESNET_MLFLOW_CACHE``, else the user's cache.

    Raises:
        InputError: If it is not a valid path.
    """
    chosen = cache_dir or os.environ.get("RESNET_MLFLOW_CACHE") or "~/.cache/resnet-mlflow"
    return user_path(chosen, "cache_dir").absolute()
