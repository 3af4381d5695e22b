"""Preprocessing of features for a head: none, standardising, or unit length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PREPROCESSINGS = ("none", "standardize", "l2", "cl2n")

Array = NDArray[Any]


def fit_preprocessing(name: str, X: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return the offset and the scale computed from the training features, each of shape (n_features,).

    Args:
        name: ``none``, ``standardize`` (mean 0, variance 1; constant features are centred only),
            ``l2`` (unit length) or ``cl2n`` (centred by the training mean, then unit length).
        X: Training features, of shape (n_items, n_features).
        weights: One per item, or ``None`` for equal weights.

    References:
        Wang et al. (2019), SimpleShot, section 3: CL2N.
    """
    n_features = X.shape[1]
    if name in ("none", "l2"):
        return np.zeros(n_features), np.ones(n_features)
    from sklearn.preprocessing import StandardScaler  # slow to import

    # It sums in float64 whatever the features' type, and block by block.
    scaler = StandardScaler().fit(X, sample_weight=weights)
    mean = np.asarray(scaler.mean_, dtype=np.float64)
    return mean, (np.asarray(scaler.scale_, dtype=np.float64) if name == "standardize" else np.ones(n_features))


def apply_preprocessing(name: str, X: Array, offset: Array, scale: Array) -> Array:
    """Return the preprocessed features, in their own precision.

    Example:
        >>> apply_preprocessing("l2", np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros(2), np.ones(2))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    if name == "none":
        return X
    if name == "l2":
        return unit_length(X)
    centred: Array = X - offset.astype(X.dtype)
    if name == "standardize":
        centred /= scale.astype(X.dtype)
        return centred
    return unit_length(centred)


def unit_length(X: Array) -> Array:
    """Return each row divided by its Euclidean norm; rows of zeros do not change."""
    norms = np.sqrt(np.einsum("ij,ij->i", X, X))
    norms[norms == 0] = 1
    unit: Array = X / norms[:, np.newaxis]
    return unit
