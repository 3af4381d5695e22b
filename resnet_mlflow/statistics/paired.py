"""Tango's score interval of the difference of two classifiers on the same items."""

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.intervals import Floats, Interval, normal_quantile

# Bisections of [-1, 1]: limits are exact to 1e-12.
N_HALVINGS = 41


def tango_interval(n_only_first: float, n_only_second: float, n_items: float, confidence: float = 0.95) -> Interval:
    """Return Tango's score interval of the difference of two paired proportions, first minus second.

    It keeps its level with few items and with few discordant ones, where the bootstrap and Wald's interval do not. It
    is above 0 exactly if the uncorrected McNemar statistic exceeds its quantile.

    Args:
        n_only_first: Items that only the first gets right.
        n_only_second: Items that only the second gets right.
        n_items: All items.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``discordant items must be among all items`` does not hold.

    References:
        Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design, Statistics in Medicine 17, equations 9 and 10.

    Example:
        >>> [round(bound, 4) for bound in tango_interval(9, 3, 32)]
        [-0.0271, 0.3897]
    """
    if min(n_only_first, n_only_second) < 0 or n_items <= 0 or n_only_first + n_only_second > n_items:
        raise InputError(
            f"discordant items must not outnumber all items, got {n_only_first:g} and {n_only_second:g} of "
            f"{n_items:g}; count the items that only one gets right"
        )
    low, high = tango_limits(n_only_first, n_only_second, n_items, normal_quantile(confidence))
    return float(low), float(high)


def tango_limits(
    n_only_first: ArrayLike, n_only_second: ArrayLike, n_items: ArrayLike, z: float
) -> tuple[Floats, Floats]:
    """Return the limits of Tango's intervals of many pairs at once; effective counts need not be integers."""
    b, c, n = (np.asarray(value, dtype=np.float64) for value in (n_only_first, n_only_second, n_items))
    observed = (b - c) / n
    ends = []
    for sign in (-1.0, 1.0):
        inside, outside = observed, np.full(observed.shape, sign)
        for _ in range(N_HALVINGS):
            middle = (inside + outside) / 2
            beyond = np.abs(_score(middle, b, c, n)) > z
            inside, outside = np.where(beyond, inside, middle), np.where(beyond, middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


def _score(difference: Floats, b: Floats, c: Floats, n: Floats) -> Floats:
    """Return Tango's statistic: the deviation in standard errors, at the maximum-likelihood nuisance parameter."""
    linear = (2 * n - b + c) * difference - b - c
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * difference * (1 - difference), 0))
    only_second = (root - linear) / (4 * n)
    variance = n * (2 * only_second + difference * (1 - difference))
    off = b - c - n * difference
    return np.divide(off, np.sqrt(np.maximum(variance, 0)), out=np.zeros(off.shape), where=variance > 1e-12)
