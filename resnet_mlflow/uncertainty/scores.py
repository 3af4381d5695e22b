"""How unlike the training images an image is, by its features or logits; ``registry.ood_scores`` has a row for each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from sklearn.utils import gen_batches

from resnet_mlflow.heads.preprocessing import unit_length

Floats = NDArray[np.floating[Any]]
Arrays = Mapping[str, NDArray[np.float32]]

# Number of training images that scores keep: 4 MB for 512 features, and half a millisecond per request. Sun et al. find
# that a hundredth of ImageNet works as well, with a smaller k.
N_KEPT = 2000
K = 10
_N_FOR_COVARIANCE = 20_000
_BLOCK = 4096


def fit_knn(features: Floats, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return at most ``N_KEPT`` training features as unit vectors, ``(n_kept, n_features)``."""
    return {"bank": unit_length(_spread(features, N_KEPT).astype(np.float32))}


def knn(arrays: Arrays, features: Floats, logits: Floats) -> Floats:
    """Return one minus the cosine to the ``K``-th nearest training image, ``(n_images,)``, in [0, 2].

    References:
        Sun et al. (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, section 3: half the squared
        distance for features of unit length.
    """
    bank, k = arrays["bank"], min(K, len(arrays["bank"]))
    blocks = [features[rows] for rows in gen_batches(len(features), _BLOCK)]
    nearest = [np.partition(unit_length(block.astype(np.float32)) @ bank.T, -k, axis=1)[:, -k] for block in blocks]
    return np.asarray(1 - np.concatenate(nearest))


def fit_mahalanobis(features: Floats, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return the within-class whitening matrix, ``(n_features, n_features)``, and the whitened class means.

    The covariance is shrunk by Ledoit and Wolf's rule, so that it also exists for fewer images than features.
    """
    from sklearn.covariance import LedoitWolf  # slow to import

    classes, indices = np.unique(labels, return_inverse=True)
    means = np.stack([features[indices == row].mean(axis=0, dtype=np.float64) for row in range(len(classes))])
    within = _spread(features - means[indices], _N_FOR_COVARIANCE)
    whitening = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(within).precision_)
    return {"whitening": whitening.astype(np.float32), "means": (means @ whitening).astype(np.float32)}


def mahalanobis(arrays: Arrays, features: Floats, logits: Floats) -> Floats:
    """Return the squared Mahalanobis distance to the nearest class mean, ``(n_images,)``.

    References:
        Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, equation 2.
    """
    whitened = features.astype(np.float32) @ arrays["whitening"]
    distances = [((whitened - mean) ** 2).sum(axis=1) for mean in arrays["means"]]
    return np.asarray(np.min(distances, axis=0))


def energy(arrays: Arrays, features: Floats, logits: Floats) -> Floats:
    """Return the free energy of the logits, ``(n_images,)``.

    References:
        Liu et al. (2020), Energy-based Out-of-distribution Detection, equation 4, at temperature 1.
    """
    return np.asarray(-logsumexp(logits, axis=1))


def max_softmax(arrays: Arrays, features: Floats, logits: Floats) -> Floats:
    """Return one minus the largest softmax of the logits, ``(n_images,)``.

    References:
        Hendrycks and Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples.
    """
    return np.asarray(1 - softmax(logits, axis=1).max(axis=1))


def _spread(features: Floats, n_most: int) -> Floats:
    """Return at most ``n_most`` rows, evenly spread, because images are sorted by class."""
    rows = np.linspace(0, len(features) - 1, min(n_most, len(features))).round().astype(np.int64)
    return np.asarray(features[rows])
