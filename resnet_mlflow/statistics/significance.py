"""Tests of two classifiers on the same items, and the correction for multiple tests.

Tail probabilities come from ``scipy.special``, which takes a third of the import time of ``scipy.stats``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.intervals import Floats

# Below this many discordant pairs the chi-square approximation of McNemar's test is too coarse.
EXACT_BELOW = 25
# Maximum number of signed sums that are enumerated; 24 items with as many class sizes could have 2^24.
MOST_SUMS = 1 << 18


@dataclass(frozen=True)
class McNemarTest:
    """McNemar's test; ``statistic`` is the smaller count (exact) or the corrected chi-square."""

    n_only_first: int
    n_only_second: int
    statistic: float
    p_value: float
    method: Literal["exact", "chi2"]


def mcnemar(first_correct: ArrayLike, second_correct: ArrayLike) -> McNemarTest:
    """Return McNemar's test that two classifiers have the same error rate on the same items.

    Only items that exactly one of them gets right count. For fewer than 25 of them the exact two-sided binomial test is
    used, else the chi-square test with Edwards' continuity correction; ``method`` says which.

    Args:
        first_correct: Whether the first classifier is right, ``(n_items,)`` booleans.
        second_correct: The same for the second, on the same items in the same order.

    References:
        McNemar (1947); Edwards (1948), Note on the "correction for continuity", Psychometrika 13.

    Example:
        >>> mcnemar([True] * 6 + [False], [False] * 6 + [True]).p_value
        0.125
    """
    left, right = paired_scores(first_correct, second_correct)
    only_first, only_second = int(np.sum((left > 0) & (right == 0))), int(np.sum((left == 0) & (right > 0)))
    discordant = only_first + only_second
    if discordant < EXACT_BELOW:
        fewer = min(only_first, only_second)
        p_value = min(1.0, 2 * float(special.bdtr(fewer, discordant, 0.5)))
        return McNemarTest(only_first, only_second, float(fewer), p_value, "exact")
    # For equal counts the correction would overshoot: the statistic is then 0, not 1 / discordant.
    chi2 = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemarTest(only_first, only_second, chi2, float(special.chdtrc(1, chi2)), "chi2")


def paired_p_value(gains: ArrayLike, weights: ArrayLike) -> float:
    """Return the two-sided p value for equal scores of two classifiers, from each item's gain with the first.

    For equal weights it is McNemar's test. For other weights, as in balanced accuracy, it is the same test of the
    weighted sum: if the classifiers do not differ, an item that only one gets right is equally likely to be either's.
    For fewer than 25 such items all signs are enumerated, else the sum is treated as normal.

    Args:
        gains: First minus second, -1, 0 or 1, ``(n_items,)``.
        weights: Weight of each item in the score, positive, ``(n_items,)``.

    References:
        McNemar (1947); Fisher (1935), The Design of Experiments, section 21, for counting all signs.

    Example:
        >>> paired_p_value([1, 1, 0, 0], [1, 1, 1, 1]), paired_p_value([1, 1, -1, 0], [4, 2, 1, 1])
        (0.5, 0.5)
    """
    signs, sizes = np.asarray(gains, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if np.ptp(sizes) <= 1e-12 * sizes.max():
        return mcnemar(signs > 0, signs < 0).p_value
    moved = sizes[signs != 0]
    observed = abs(float(signs @ sizes))
    if not len(moved):
        return 1.0
    if len(moved) < EXACT_BELOW:
        sums, shares = _signed_sums(moved / moved.max())
        if len(sums) < MOST_SUMS:
            return min(1.0, float(shares[np.abs(sums) >= observed / moved.max() - 1e-9].sum()))
    return 2 * float(special.ndtr(-observed / np.sqrt(moved @ moved)))


def _signed_sums(weights: Floats) -> tuple[Floats, Floats]:
    """Return the sums of weights over all combinations of signs, and their probabilities."""
    sums: Floats = np.zeros(1)
    shares: Floats = np.ones(1)
    for weight in weights:
        both = np.round(np.concatenate([sums - weight, sums + weight]), 12)
        sums, place = np.unique(both, return_inverse=True)
        shares = np.asarray(np.bincount(place, weights=np.tile(shares, 2) / 2), dtype=np.float64)
        if len(sums) >= MOST_SUMS:
            break
    return sums, shares


def paired_scores(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Return the scores of two classifiers as arrays; they are refused if the items differ."""
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not len(left):
        raise InputError(f"paired scores must have the same items, got {left.shape} and {right.shape}; align by id")
    return left, right


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for multiple testing, in the given order; NaN stays NaN and does not count.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure.

    Example:
        >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]
