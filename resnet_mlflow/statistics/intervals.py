"""Intervals of one score: over items, or over seeds.

Quantiles come from ``scipy.special``, whose import is a third of that of ``scipy.stats``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from resnet_mlflow.errors import InputError

Interval = tuple[float, float]


@dataclass(frozen=True)
class SeedSummary:
    """A metric over seeds; ``std`` and ``interval`` are NaN below two seeds, ``n`` is how many there are."""

    mean: float
    std: float
    n: int
    interval: Interval
    missing: tuple[int, ...]


def wilson_interval(n_correct: int, n_items: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion.

    Unlike the normal approximation it stays in [0, 1] and has a width at 0 % and 100 %.

    Args:
        n_correct: Successes, in ``[0, n_items]``.
        n_items: Trials, at least 1.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``n_correct must be in [0, n_items]`` does not hold.

    References:
        Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(bound, 4) for bound in wilson_interval(81, 263)]
        [0.2553, 0.3662]
    """
    if n_items < 1 or not 0 <= n_correct <= n_items:
        raise InputError(f"n_correct must be in [0, n_items] and n_items at least 1, got {n_correct} of {n_items}")
    z_squared = float(special.ndtri(0.5 + checked_confidence(confidence) / 2)) ** 2
    share = n_correct / n_items
    centre = (share + z_squared / (2 * n_items)) / (1 + z_squared / n_items)
    spread = math.sqrt(z_squared * (share * (1 - share) / n_items + z_squared / (4 * n_items**2)))
    half = spread / (1 + z_squared / n_items)
    return max(0.0, centre - half), min(1.0, centre + half)


def percentile_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the central ``confidence`` share of ``values``, a bootstrap distribution of any length.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    tail = (1 - checked_confidence(confidence)) / 2
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Student's t interval of the mean of independent values; ``(nan, nan)`` below two of them.

    Example:
        >>> [round(bound, 3) for bound in t_interval([1.0, 2.0, 3.0])]
        [-0.484, 4.484]
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    quantile = float(special.stdtrit(len(array) - 1, 0.5 + checked_confidence(confidence) / 2))
    half = quantile * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def summarize_seeds(values: Mapping[int, float], expected: Iterable[int], confidence: float = 0.95) -> SeedSummary:
    """Return mean, standard deviation (ddof 1), count and t interval over seeds, and the seeds that are missing.

    Args:
        values: The metric by seed; a NaN counts as missing.
        expected: All the seeds that should be there.
        confidence: Coverage of the interval, in (0, 1).

    Raises:
        InputError: If ``seeds must be among the expected ones`` does not hold.
    """
    wanted = sorted(set(expected))
    if strangers := sorted(set(values) - set(wanted)):
        raise InputError(f"seeds must be among the expected ones {wanted}, got {strangers}; drop them or expect them")
    present = {seed: value for seed, value in values.items() if not math.isnan(value)}
    array = np.array(list(present.values()))
    mean = float(array.mean()) if len(array) else math.nan
    std = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    missing = tuple(seed for seed in wanted if seed not in present)
    return SeedSummary(mean, std, len(array), t_interval(array, confidence), missing)


def checked_confidence(confidence: float) -> float:
    """Return a coverage, refused outside (0, 1)."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be in (0, 1), got {confidence:g}; write 0.95 for 95 %")
    return confidence
