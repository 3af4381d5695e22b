"""How images of a dataset are called in tables: by their place below the dataset's folder."""

import os
from pathlib import Path

from resnet_mlflow.data.datasets import ImageDataset


def splits_in_order(dataset: ImageDataset) -> tuple[str, ...]:
    """Return the names of a dataset's splits: train, val, test."""
    return tuple(name for name in ("train", "val", "test") if name in dataset.splits)


def relative_paths(dataset: ImageDataset, split: str) -> list[str]:
    """Return the file of each image as a path from the dataset's folder, with ``/``; empty texts for arrays."""
    images = dataset.splits[split]
    if images.paths is None:
        return [""] * len(images)
    source = Path(dataset.source)
    root = source if source.is_dir() else source.parent
    return [_below(path, root) for path in images.paths]


def _below(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return os.fspath(path)
