"""A kernel two-sample test of features with valid p values at any level, and each image's contribution to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Seed of the draw of halves: the same images give the same p value.
_SEED = 0
_N_FOR_BANDWIDTH = 500
_N_FOR_COVARIANCE = 20_000


@dataclass(frozen=True, eq=False)
class Space:
    """A feature space with equal variance in all directions among training images, and the kernel's width there.

    Attributes:
        center: Mean of the training images, ``(n_features,)``.
        whitening: ``(n_features, n_features)``.
        gamma: The kernel of two images is ``exp(-gamma * squared distance)``.
    """

    center: NDArray[np.float32]
    whitening: NDArray[np.float32]
    gamma: float

    def place(self, features: Floats) -> NDArray[np.float32]:
        """Return features in this space, of the same shape."""
        return np.asarray((features.astype(np.float32) - self.center) @ self.whitening)

    def kernel(self, left: Floats, right: Floats) -> NDArray[np.float32]:
        """Return the kernel of all pairs of two sets of images in this space, ``(n_left, n_right)``."""
        return np.asarray(np.exp(-np.float32(self.gamma) * squared_distances(left, right)))


def fit_space(train: Floats) -> Space:
    """Return the space of a classifier's features.

    The covariance is shrunk by Ledoit and Wolf's rule; the width is the median distance.

    Args:
        train: Features of training images, ``(n_train, n_features)``. None of them is compared later: they only set
            directions and a width, so a network may have been trained on them.

    References:
        Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices; Gretton et al.
        (2012), A Kernel Two-Sample Test, section 8, for the median.
    """
    from sklearn.covariance import LedoitWolf  # slow to import

    few = train[np.linspace(0, len(train) - 1, min(_N_FOR_COVARIANCE, len(train))).round().astype(np.int64)]
    center = few.mean(axis=0, dtype=np.float64)
    whitening = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(few - center).precision_)
    space = Space(center.astype(np.float32), whitening.astype(np.float32), 1.0)
    placed = space.place(few[:: max(1, len(few) // _N_FOR_BANDWIDTH)])
    distances = squared_distances(placed, placed)[np.triu_indices(len(placed), 1)]
    return Space(space.center, space.whitening, 1 / max(float(np.median(distances)), 1e-12))


def squared_distances(left: Floats, right: Floats) -> NDArray[np.float32]:
    """Return squared distances of all pairs, ``(n_left, n_right)``."""
    lengths = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)[None]
    return np.asarray(np.maximum(lengths - 2 * left @ right.T, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class WitnessTest:
    """The difference between two sets of images.

    Attributes:
        p_value: P value for equal distributions.
        ahead: Share of pairs in which the batch's image has a higher witness value than the reference's; 0.5 without a
            change.
        own: Witness of each image of the reference, ``(n_own,)``.
        other: Witness of each image of the batch, ``(n_other,)``: high where the batch is denser than the reference.
    """

    p_value: float
    ahead: float
    own: Floats
    other: Floats


def witness_test(own: Floats, cross: Floats, other: Floats) -> WitnessTest:
    """Return the test that a batch has the same distribution as the reference.

    One half of each set gives the witness function of the maximum mean discrepancy,
    ``mean k(z, batch) - mean k(z, reference)``. The other halves are compared on it by the Mann-Whitney test, which
    requires only exchangeability and reaches levels that permutations do not. Then the halves swap roles; the p value
    is twice the smaller one.

    Args:
        own: Kernel of the reference with itself, ``(n_own, n_own)``.
        cross: Kernel of the batch with the reference, ``(n_other, n_own)``.
        other: Kernel of the batch with itself, ``(n_other, n_other)``; at least 4 images in each set.

    References:
        Kübler et al. (2022), A Witness Two-Sample Test; Gretton et al. (2012), A Kernel Two-Sample Test, section 2.3:
        the witness function; Mann and Whitney (1947), Annals of Mathematical Statistics 18.
    """
    from scipy.stats import mannwhitneyu  # slow to import

    found_own, found_other = np.empty(len(own)), np.empty(len(other))
    p_values, shares = [], []
    for (made, tested), (made_batch, tested_batch) in zip(_turns(len(own)), _turns(len(other)), strict=True):
        found_own[tested] = cross[np.ix_(made_batch, tested)].mean(axis=0) - own[np.ix_(tested, made)].mean(axis=1)
        found_other[tested_batch] = other[np.ix_(tested_batch, made_batch)].mean(axis=1)
        found_other[tested_batch] -= cross[np.ix_(tested_batch, made)].mean(axis=1)
        ranked = mannwhitneyu(found_other[tested_batch], found_own[tested], alternative="greater")
        p_values.append(float(ranked.pvalue))
        shares.append(float(ranked.statistic) / (len(tested) * len(tested_batch)))
    return WitnessTest(min(1.0, 2 * min(p_values)), float(np.mean(shares)), found_own, found_other)


def _turns(n_images: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    halves = np.array_split(np.random.default_rng(_SEED).permutation(n_images), 2)
    yield halves[0], halves[1]
    yield halves[1], halves[0]
