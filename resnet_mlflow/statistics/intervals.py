"""Intervals of one score: over items, or over seeds.

Quantiles come from ``scipy.special``, which takes a third of the import time of ``scipy.stats``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resnet_mlflow.errors import InputError

Interval = tuple[float, float]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Up to this many errors (or successes), Wilson's inner limit is replaced, see proportion_limits; 3.5, since effective
# counts are not integers.
FEW = 3.5


@dataclass(frozen=True)
class SeedSummary:
    """A metric over seeds; ``std`` and ``interval`` are NaN below two seeds, ``n`` is the number of seeds."""

    mean: float
    std: float
    n: int
    interval: Interval
    missing: tuple[int, ...]


def wilson_interval(n_correct: int, n_items: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion.

    Unlike the normal approximation, it stays in [0, 1] and has a positive width at 0 % and 100 %.

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
    _check_counts(n_correct, n_items)
    low, high = wilson_limits(n_correct / n_items, n_items, normal_quantile(confidence))
    # Rounding must not change exact limits.
    return 0.0 if n_correct == 0 else float(low), 1.0 if n_correct == n_items else float(high)


def accuracy_interval(n_correct: int, n_items: int, confidence: float = 0.95) -> Interval:
    """Return the interval of an accuracy: Wilson's, with its inner limit changed for 3 errors or fewer.

    Args:
        n_correct: Number of right items, in ``[0, n_items]``.
        n_items: Number of items, at least 1.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: As for ``wilson_interval``.

    References:
        Brown, Cai and DasGupta (2001), Interval Estimation for a Binomial Proportion, section 4.1.1.

    Example:
        >>> [round(bound, 4) for bound in accuracy_interval(99, 100)]
        [0.9455, 0.9995]
    """
    _check_counts(n_correct, n_items)
    low, high = proportion_limits(n_correct / n_items, n_items, confidence)
    return float(low), float(high)


def proportion_upper_bound(n_events: int, n_items: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a proportion.

    Args:
        n_events: Number of events, in ``[0, n_items]``.
        n_items: Number of items, at least 1.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: As for ``wilson_interval``.

    References:
        Clopper and Pearson (1934), The use of confidence or fiducial limits, Biometrika 26.

    Example:
        >>> round(proportion_upper_bound(0, 149), 4)
        0.0199
    """
    _check_counts(n_events, n_items)
    tail = checked_confidence(confidence)
    return 1.0 if n_events == n_items else float(special.betaincinv(n_events + 1, n_items - n_events, tail))


def wilson_limits(share: ArrayLike, n_items: ArrayLike, z: float) -> tuple[Floats, Floats]:
    """Return the limits of Wilson's intervals for many proportions; numbers of items need not be integers."""
    p, n = np.asarray(share, dtype=np.float64), np.asarray(n_items, dtype=np.float64)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def proportion_limits(share: ArrayLike, n_items: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the limits of modified Wilson intervals for many proportions, with effective numbers of items.

    The plain Wilson interval covers only 84 % if about 0.2 errors are expected: its limit for one error is above that.
    For ``x`` errors, fewer than four, this limit is replaced by the one-sided Poisson limit at twice the tail,
    ``chi2(2 x, alpha) / 2``.

    Args:
        share: Share of right items, in [0, 1].
        n_items: Effective number of items, positive; need not be an integer.
        confidence: Coverage, in (0, 1).

    References:
        Brown, Cai and DasGupta (2001), Interval Estimation for a Binomial Proportion, section 4.1.1; for effective
        numbers of items Korn and Graubard (1998), Survey Methodology 24.
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(n_items, dtype=np.float64)
    low, high = wilson_limits(p, n, normal_quantile(confidence))
    rarer, near_one = np.minimum(p, 1 - p) * n, p >= 0.5
    # gammaincinv(x, alpha) is chi2(2 x, alpha) / 2; without errors the limit is exact.
    poisson = np.where(rarer < 1e-9, 0.0, special.gammaincinv(np.maximum(rarer, 1e-9), 1 - confidence) / n)
    inner = np.where(near_one, 1 - high, low)
    inner = np.where(rarer <= FEW, np.minimum(inner, poisson), inner)
    return np.where(near_one, low, inner), np.where(near_one, 1 - inner, high)


def normal_quantile(confidence: float) -> float:
    """Return the half-width of a two-sided interval in standard errors.

    Raises:
        InputError: If ``confidence must be in (0, 1)`` does not hold.

    Example:
        >>> round(normal_quantile(0.95), 3)
        1.96
    """
    return float(special.ndtri(0.5 + checked_confidence(confidence) / 2))


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Student's t interval of the mean of independent values; ``(nan, nan)`` for fewer than two.

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
    """Return mean, standard deviation (ddof 1), count and t interval over seeds, and the missing seeds.

    Args:
        values: The metric by seed; a NaN counts as missing.
        expected: All expected seeds.
        confidence: Coverage of the interval, in (0, 1).

    Raises:
        InputError: If ``seeds must be among the expected ones`` does not hold.
    """
    wanted = sorted(set(expected))
    if strangers := sorted(set(values) - set(wanted)):
        raise InputError(f"seeds must be among the expected seeds {wanted}, got {strangers}; drop them or add them")
    present = {seed: value for seed, value in values.items() if not math.isnan(value)}
    array = np.array(list(present.values()))
    mean = float(array.mean()) if len(array) else math.nan
    std = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    missing = tuple(seed for seed in wanted if seed not in present)
    return SeedSummary(mean, std, len(array), t_interval(array, confidence), missing)


def checked_confidence(confidence: float) -> float:
    """Return a coverage; values outside (0, 1) are refused."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be in (0, 1), got {confidence:g}; write 0.95 for 95 %")
    return confidence


def _check_counts(n_correct: int, n_items: int) -> None:
    if n_items < 1 or not 0 <= n_correct <= n_items:
        raise InputError(f"n_correct must be in [0, n_items] and n_items at least 1, got {n_correct} of {n_items}")
