"""Classes of similar size as strata: a score with equal class weights is the sum of its parts over strata.

Rare classes are often recognised less well than common ones. A few items of a rare class without an error say little
about it, and results on common classes must not be transferred to it. Each stratum therefore has its own interval, and
the squares of their half-widths add up (MOVER).

References:
    Zou, Huang and Zhang (2009), A note on confidence interval estimation for a linear function of binomial proportions,
    Computational Statistics and Data Analysis 53; Zou and Donner (2008), Statistics in Medicine 27, equation 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.statistics.intervals import Floats, Ints

# Maximum ratio of items between the largest and the smallest class of a stratum.
WIDEST = 3
# A stratum with fewer items is merged with the next, since its own interval would say nothing.
FEWEST = 3


@dataclass(frozen=True)
class Part:
    """A stratum's part of scores: its share of them, its own scores, and their limits, ``(...)`` each."""

    share: float
    score: Floats
    limits: tuple[Floats, Floats]


def strata_of(support: ArrayLike) -> list[Ints]:
    """Return the classes of each stratum, those with the fewest items first.

    Args:
        support: Items by class, all positive, ``(n_classes,)``.

    Example:
        >>> [classes.tolist() for classes in strata_of([100, 8, 120, 90])]
        [[1], [0, 2, 3]]
        >>> len(strata_of([1, 50, 40])), len(strata_of([10, 10, 30]))
        (1, 1)
    """
    counts = np.asarray(support)
    order = np.argsort(counts, kind="stable")
    sizes, strata, start = counts[order], [], 0
    while start < len(sizes):
        end = _end_of_stratum(sizes, start)
        while end < len(sizes) and sizes[start:end].sum() < FEWEST:
            end = _end_of_stratum(sizes, end)
        strata.append(np.sort(order[start:end]))
        start = end
    return strata


def _end_of_stratum(sizes: Ints, start: int) -> int:
    return int(np.searchsorted(sizes, WIDEST * sizes[start], side="right"))


def summed_limits(parts: Sequence[Part]) -> tuple[Floats, Floats]:
    """Return the limits of the intervals of scores that are sums of independent parts."""
    if len(parts) == 1:
        return parts[0].limits
    score = sum((part.share * part.score for part in parts), start=np.zeros(()))
    below = sum(((part.share * (part.score - part.limits[0])) ** 2 for part in parts), start=np.zeros(()))
    above = sum(((part.share * (part.limits[1] - part.score)) ** 2 for part in parts), start=np.zeros(()))
    return score - np.sqrt(below), score + np.sqrt(above)
