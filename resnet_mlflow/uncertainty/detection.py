"""How well a score separates other images from those that the classifier is for, with bootstrap intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.statistics import Interval

Floats = NDArray[np.floating[Any]]

N_RESAMPLES = 500
_KEPT = 0.95


@dataclass(frozen=True)
class Detection:
    """How well other images are detected.

    Attributes:
        auroc: Probability that a random other image has a higher score than a random own image; 0.5 means no
            separation.
        auroc_interval: 95 % interval over both sides' images.
        fpr95: Share of other images that are accepted when 95 % of the own are.
        fpr95_interval: The same.
        n_own: Number of images that the classifier is for.
        n_other: Number of other images.
    """

    auroc: float
    auroc_interval: Interval
    fpr95: float
    fpr95_interval: Interval
    n_own: int
    n_other: int


def detect(own: Floats, other: Floats, seed: int = 0) -> Detection:
    """Return how well scores separate other images from the own.

    Args:
        own: Scores of images that the classifier is for, ``(n_own,)``.
        other: Scores of other images, ``(n_other,)``.
        seed: Seed of the bootstrap.

    References:
        Hendrycks and Gimpel (2017), section 2, for both measures; Efron and Tibshirani (1993), An Introduction to the
        Bootstrap, chapter 13: percentiles of resamples of both sides.
    """
    own = np.sort(own)
    rng = np.random.default_rng(seed)
    aurocs, fprs = np.empty(N_RESAMPLES), np.empty(N_RESAMPLES)
    for turn in range(N_RESAMPLES):
        mine = np.sort(own[rng.integers(len(own), size=len(own))])
        theirs = other[rng.integers(len(other), size=len(other))]
        aurocs[turn] = _auroc(mine, theirs)
        fprs[turn] = _fpr(mine, theirs)
    return Detection(
        _auroc(own, other), _percentiles(aurocs), _fpr(own, other), _percentiles(fprs), len(own), len(other)
    )


def _auroc(own: Floats, other: Floats) -> float:
    """Return the share of pairs in which the own image has the lower score, ties counting half; ``own`` is sorted."""
    places = np.searchsorted(own, other, "left") + np.searchsorted(own, other, "right")
    return float(places.mean() / (2 * len(own)))


def _fpr(own: Floats, other: Floats) -> float:
    """Return the share of other images at or below the score that keeps 95 % of the own; ``own`` is sorted."""
    limit = own[min(len(own) - 1, int(np.ceil(_KEPT * len(own))) - 1)]
    return float((other <= limit).mean())


def _percentiles(values: Floats) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
