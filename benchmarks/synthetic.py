"""Features without images: overlapping clusters on correlated axes of decreasing scale."""

import numpy as np
from numpy.typing import NDArray

N_FEATURES = 512
N_CLASSES = 10


def clusters(n_rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
    """Return features ``(n_rows, 512)``, labels of 10 classes, and a description."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_CLASSES, n_rows)
    # Correlated axes of decreasing scale, like those of features; centres are a fraction of a deviation apart.
    scale = np.arange(1, N_FEATURES + 1) ** -0.5
    centres = rng.normal(0, 0.25, (N_CLASSES, N_FEATURES))
    mixed = ((centres[y] + rng.normal(size=(n_rows, N_FEATURES))) * scale) @ rng.normal(size=(N_FEATURES, N_FEATURES))
    return np.maximum(mixed, 0).astype(np.float32), y, "overlapping clusters"
