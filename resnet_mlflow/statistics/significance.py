"""Tests of two classifiers on the same items, and the price of making many tests.

Tail probabilities come from ``scipy.special``, whose import is a third of that of ``scipy.stats``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from resnet_mlflow.statistics.bootstrap import paired_scores

# Below this many discordant pairs the chi-square approximation of McNemar's test is too coarse.
EXACT_BELOW = 25


@dataclass(frozen=True)
class McNemarTest:
    """McNemar's test; ``statistic`` is the smaller count (exact) or the corrected chi-square."""

    n_only_first: int
    n_only_second: int
    statistic: float
    p_value: float
    method: Literal["exact", "chi2"]


def mcnemar(first_correct: ArrayLike, second_correct: ArrayLike) -> McNemarTest:
    """Return McNemar's test of two classifiers having the same error rate on the same items.

    Only items that one of them alone gets right count. Below 25 of those the exact two-sided binomial test is used,
    else the chi-square test with Edwards' continuity correction; ``method`` says which.

    Args:
        first_correct: Whether the first classifier is right, ``(n_items,)`` booleans.
        second_correct: The same of the second, on the same items in the same order.

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
    # At equal counts the correction would overshoot: the statistic is then 0, not 1 / discordant.
    chi2 = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemarTest(only_first, only_second, chi2, float(special.chdtrc(1, chi2)), "chi2")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for testing all of them, in the order given; NaN stays NaN and does not count.

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
