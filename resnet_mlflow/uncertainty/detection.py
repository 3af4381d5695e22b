"""How well a score tells other images from the classifier's own, with bootstrap intervals."""

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
        auroc: Chance that another image has the higher score of the two; 0.5 tells nothing apart.
        auroc_interval: 95 % interval over both sides' images.
        fpr95: Share of other images that pass where 95 % of the own are kept.
        fpr95_interval: The same.
        n_own: Images of the classifier's own kind.
        n_other: Other images.
    """

    auroc: float
    auroc_interval: Interval
    fpr95: float
    fpr95_interval: Interval
    n_own: int
    n_other: int


def detect(own: Floats, other: Floats, seed: int = 0) -> Detection:
    """Return how well scores tell other images from the own.

    Args:
        own: Scores of images that the classifier is for, ``(n_own,)``.
        other: Scores of other images, ``(n_other,)``.
        seed: Of the bootstrap.

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
    """Return the share of pairs whose own image, sorted, has the lower score; of equal scores half."""
    places = np.searchsorted(own, other, "left") + np.searchsorted(own, other, "right")
    return float(places.mean() / (2 * len(own)))


def _fpr(own: Floats, other: Floats) -> float:
    """Return the share of others at or below the score up to which 95 % of the own images, sorted, are kept."""
    limit = own[min(len(own) - 1, int(np.ceil(_KEPT * len(own))) - 1)]
    return float((other <= limit).mean())


def _percentiles(values: Floats) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
