"""Methods over several datasets: signed ranks, Friedman's test, critical differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resnet_mlflow.errors import InputError

# With fewer pairs, the exact two-sided test cannot reach 0.05: 2 / 2**5 is 0.0625.
WILCOXON_MIN_PAIRS = 6


@dataclass(frozen=True)
class FriedmanTest:
    """Friedman's test; ``f_statistic`` and its p value are the less conservative ones of Iman and Davenport."""

    ranks: tuple[float, ...]
    chi2: float
    chi2_p_value: float
    f_statistic: float
    f_p_value: float
    n_datasets: int


def average_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Return each method's rank per dataset: 1 is best, equal scores share their mean rank.

    Args:
        scores: ``(n_datasets, n_methods)``; more is better.
    """
    table = np.asarray(scores, dtype=np.float64)
    better = (table[:, None, :] > table[:, :, None]).sum(axis=2)
    equal = (table[:, None, :] == table[:, :, None]).sum(axis=2)
    return np.asarray(better + (equal + 1) / 2)


def friedman(scores: ArrayLike) -> FriedmanTest:
    """Return Friedman's test that all methods are equal over datasets.

    Args:
        scores: ``(n_datasets, n_methods)``, at least 2 of each; more is better.

    Raises:
        InputError: If there are too few datasets or methods, or a score is missing.

    References:
        Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, section 3.2.2.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or np.isnan(table).any():
        raise InputError(f"scores must cover at least 2 datasets and 2 methods, with none missing, got {table.shape}")
    n, k = table.shape
    ranks = average_ranks(table)
    mean = ranks.mean(axis=0)
    spread = float(((ranks - (k + 1) / 2) ** 2).sum())
    # The general form, which equals the textbook form if there are no ties.
    chi2 = 0.0 if spread == 0 else (k - 1) * n**2 * float(((mean - (k + 1) / 2) ** 2).sum()) / spread
    rest = n * (k - 1) - chi2
    f = math.inf if rest <= 1e-12 else (n - 1) * chi2 / rest
    f_p = 0.0 if math.isinf(f) else float(special.fdtrc(k - 1, (k - 1) * (n - 1), f))
    return FriedmanTest(tuple(float(rank) for rank in mean), chi2, float(special.chdtrc(k - 1, chi2)), f, f_p, n)


def nemenyi_critical_difference(n_methods: int, n_datasets: int, alpha: float = 0.05) -> float:
    """Return the smallest difference between the mean ranks of two methods that is significant.

    References:
        Nemenyi (1963); Demsar (2006), section 3.2.2.

    Example:
        >>> round(nemenyi_critical_difference(4, 14), 2)
        1.25
    """
    from scipy.stats import studentized_range  # scipy.stats takes a second to import

    q = float(studentized_range.ppf(1 - alpha, n_methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))


def wilcoxon_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Return the exact two-sided p value of Wilcoxon's signed-rank test; NaN for fewer than six pairs that differ.

    Equal pairs are dropped and tied differences share their mean rank; all signs are counted, not approximated.

    Args:
        first: Scores, one per dataset.
        second: Scores of the other method on the same datasets.

    References:
        Wilcoxon (1945), Individual Comparisons by Ranking Methods.

    Example:
        >>> wilcoxon_p_value([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]), wilcoxon_p_value([1, 2], [0, 0])
        (0.03125, nan)
    """
    gains = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    gains = gains[gains != 0]
    if len(gains) < WILCOXON_MIN_PAIRS:
        return math.nan
    # Doubled ranks are integers, so that sums can index an array.
    ranks = np.rint(2 * average_ranks(-np.abs(gains)[None, :])[0]).astype(np.int64)
    n_ways = np.zeros(int(ranks.sum()) + 1)
    n_ways[0] = 1
    for rank in ranks:
        n_ways[rank:] += n_ways[: len(n_ways) - rank].copy()
    smaller = min(int(ranks[gains > 0].sum()), int(ranks[gains < 0].sum()))
    return min(1.0, 2 * float(n_ways[: smaller + 1].sum() / n_ways.sum()))


def cliques(ranks: Sequence[float], separated: ArrayLike) -> list[tuple[int, ...]]:
    """Return the largest groups of methods, consecutive in rank, in which no two differ significantly.

    They are the bars of a critical-difference diagram. A method that differs significantly from all others is in none.

    Args:
        ranks: Mean rank per method.
        separated: Whether two methods differ significantly, ``(n_methods, n_methods)``, symmetric.

    Example:
        >>> cliques([1.0, 2.0, 3.5], [[False, False, True], [False, False, False], [True, False, False]])
        [(0, 1), (1, 2)]
    """
    apart = np.asarray(separated, dtype=bool)
    order = [int(i) for i in np.argsort(np.asarray(ranks), kind="stable")]
    found: list[tuple[int, ...]] = []
    reach = 0
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and not apart[np.ix_(order[start : end + 2], order[start : end + 2])].any():
            end += 1
        if end > start and end >= reach + (1 if found else 0):
            found.append(tuple(order[start : end + 1]))
            reach = end
    return found
