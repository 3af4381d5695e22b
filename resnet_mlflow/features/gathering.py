"""Assembles feature store entries from rows that other processes compute, and writes the metadata of all entries."""

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_mlflow import __version__
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import SHARD_ROWS, DamagedEntryError
from resnet_mlflow.features.identity import FeatureIdentity, FeatureSet, features_key
from resnet_mlflow.features.row_file import drop_rows
from resnet_mlflow.features.spans import Skipped, begin_split, copy_rows
from resnet_mlflow.features.store import EntryWriter, FeatureStore
from resnet_mlflow.features.transport import load_block, shard_name
from resnet_mlflow.process import process_name
from resnet_mlflow.registry.backbones import BACKBONES


@dataclass(frozen=True)
class Shard:
    """Rows of a split that one process computes: ``first`` to ``stop - 1``."""

    split: str
    first: int
    stop: int

    @property
    def file_name(self) -> str:
        """Return the file name for their features."""
        return shard_name(self.split, self.first)


@dataclass(frozen=True)
class Brought:
    """A computed shard.

    Attributes:
        shard: Its rows.
        file: File with their features, valid within a block.
        skipped: Images left out of it.
        weights_taken: Tensors used from the weights file, if known and not the standard ones.
    """

    shard: Shard
    file: AbstractContextManager[Path]
    skipped: Skipped
    weights_taken: str = ""


def gather_features(
    dataset: ImageDataset,
    identity: FeatureIdentity,
    resolved: ResolvedWeights,
    store: FeatureStore,
    bring: Callable[[Sequence[Shard]], Iterator[Brought]],
) -> FeatureSet:
    """Return the dataset's features: from the store, or assembled from shards that other processes compute.

    Args:
        dataset: The images.
        identity: Identity of the features.
        resolved: The backbone's weights.
        store: The feature store.
        bring: Yields the missing shards in order of arrival.

    Raises:
        InputError: If a shard is not the requested one, or the store cannot be written to.
    """
    key = features_key(identity)
    with store.lock(key):
        found = store.get(key)
        if found is None:
            with store.writer(key) as entry:
                _fill(entry, dataset, identity, resolved, bring)
            found = store.get(key)
    if found is None:
        raise InputError(
            f"features must be readable after they are written, got nothing at {store.path(key)}; run again"
        )
    return found


def _fill(
    entry: EntryWriter,
    dataset: ImageDataset,
    identity: FeatureIdentity,
    resolved: ResolvedWeights,
    bring: Callable[[Sequence[Shard]], Iterator[Brought]],
) -> None:
    started, n_columns = time.perf_counter(), BACKBONES[identity.backbone].n_features
    shapes = {name: (len(split), n_columns) for name, split in dataset.splits.items()}
    before = {name: begin_split(entry.folder, name, shape) for name, shape in shapes.items()}
    left_out = {name: done.skipped for name, done in before.items()}
    missing = [shard for shard in shards_of(dataset) if not before[shard.split].covers(shard.first, shard.stop)]
    taken = ""
    for brought in bring(missing):
        name, taken = brought.shard.split, brought.weights_taken
        _take(entry.folder, brought, shapes[name])
        left_out[name] += [item for item in brought.skipped if item not in left_out[name]]
    skipped = [item for name, split in dataset.splits.items() for item in ordered(left_out[name], name, split)]
    seconds = time.perf_counter() - started
    complete(entry, dataset, skipped)
    n_missing = sum(shard.stop - shard.first for shard in missing)
    n_images = sum(map(len, dataset.splits.values()))
    entry.meta = describe(dataset, identity, resolved, skipped, seconds, n_images - n_missing)
    entry.meta |= {"device": "workers", "weights_taken": taken}


def _take(folder: Path, brought: Brought, shape: tuple[int, int]) -> None:
    shard = brought.shard
    n_rows = shard.stop - shard.first - len(brought.skipped)
    with brought.file as file:
        try:
            block = load_block(file, shard.file_name, (n_rows, shape[1]))
        except DamagedEntryError as damage:
            raise InputError(f"a worker must return the features of its rows, got: {damage}; run again") from None
        copy_rows(folder, shard.split, shape, range(shard.first, shard.stop), block, brought.skipped)


def shards_of(dataset: ImageDataset) -> list[Shard]:
    """Return the shards of all splits, in order."""
    return [
        Shard(name, first, min(first + SHARD_ROWS, len(split)))
        for name, split in dataset.splits.items()
        for first in range(0, len(split), SHARD_ROWS)
    ]


def ordered(left_out: Skipped, name: str, split: ImageSplit) -> Skipped:
    """Return the images left out of a split in the order of its rows.

    Raises:
        InputError: If these are all its images.
    """
    if len(left_out) == len(split):
        raise InputError(f"a split must contain at least one readable image, got none of {len(split)} in {name!r}")
    return sorted(left_out, key=lambda item: int(item["row"]))


def complete(entry: EntryWriter, dataset: ImageDataset, skipped: Skipped) -> None:
    """Complete an entry that has the features of all rows: drop those of omitted images and write the rest."""
    for name, split in dataset.splits.items():
        kept = np.setdiff1d(np.arange(len(split)), [item["row"] for item in skipped if item["split"] == name])
        if len(kept) < len(split):
            drop_rows(entry.folder / f"{name}.features.npy", kept)
        entry.save(name, split.labels[kept], split.item_ids[kept])


def describe(
    dataset: ImageDataset,
    identity: FeatureIdentity,
    resolved: ResolvedWeights,
    skipped: Skipped,
    seconds: float,
    n_done_before: int,
) -> dict[str, Any]:
    """Return an entry's metadata, except the device and the weights used."""
    n_images = sum(map(len, dataset.splits.values())) - n_done_before
    return asdict(identity) | {
        "dataset": dataset.name,
        "class_names": list(dataset.class_names),
        "weights": resolved.label,
        "n_skipped": len(skipped),
        "skipped": skipped,
        "seconds": seconds,
        "images_per_s": n_images / seconds,
        "worker": process_name(),
        "package_version": __version__,
        "torch_version": importlib.metadata.version("torch"),
    }
