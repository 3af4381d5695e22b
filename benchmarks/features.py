"""Labelled features for the benchmarks of heads."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import extract
from benchmarks.images import small_folder
from benchmarks.synthetic import clusters


def features(folder: Path, n_rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
    """Return features and labels: resnet18's of CIFAR-10 if available, else overlapping clusters."""
    if os.environ.get("CIFAR10_FOLDER"):
        images, _ = small_folder(folder / "for-features", n_rows)
        _, found = extract(images, 64, folder / "features-store")
        parts = found.splits.values()
        X = np.concatenate([np.asarray(split.features) for split in parts])
        y = np.concatenate([split.labels for split in parts])
        # Folders are read class by class; solvers must not benefit from the order.
        order = np.random.default_rng(0).permutation(len(X))
        return X[order], y[order], "resnet18 features of CIFAR-10 at 64 px, random weights"
    return clusters(n_rows)
