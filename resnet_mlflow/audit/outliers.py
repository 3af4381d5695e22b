"""Images far from all others, and images that fit no class."""

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.audit.neighbours import nearest

Floats = NDArray[np.float32]

_NEIGHBOURS = 10
# Interquartile ranges beyond the third quartile: 1 in 400 000 for a normal distribution.
_FAR = 3.0


def loneliness(compact: Floats, groups: NDArray[np.int64]) -> Floats:
    """Return the mean distance of each image to its nearest neighbours, copies and twins excluded, in [0, 2].

    Args:
        compact: Features as unit vectors, ``(n_images, n_numbers)``.
        groups: Group numbers, equal for copies and twins, ``(n_images,)``.

    References:
        Ramaswamy et al. (2000), Efficient algorithms for mining outliers from large data sets: distances to neighbours.
    """
    rows, products = nearest(compact, compact, 2 * _NEIGHBOURS)
    others = (rows >= 0) & (groups[rows] != groups[:, None])
    rank = others.cumsum(axis=1)
    counted = others & (rank <= _NEIGHBOURS)
    total = np.where(counted, 1 - products, 0).sum(axis=1)
    n_counted = counted.sum(axis=1)
    return np.asarray(np.divide(total, n_counted, out=np.zeros_like(total), where=n_counted > 0), dtype=np.float32)


def far_out(values: Floats) -> NDArray[np.bool_]:
    """Return which values are extreme: three interquartile ranges beyond the third quartile."""
    low, high = np.percentile(values, [25, 75])
    return np.asarray(values > high + _FAR * max(high - low, 1e-6))


def not_understood(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which images have no class with a probability much above chance, ``(n_images,)``."""
    n_classes = probabilities.shape[1]
    # 0.55 for two classes, 0.19 for ten, 0.1 for a thousand.
    return np.asarray(probabilities.max(axis=1) < 1 / n_classes + 0.1 * (1 - 1 / n_classes))
