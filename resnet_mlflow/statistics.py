"""Confidence intervals and paired tests: how sure a score, or the difference of two, is.

Quantiles and tail probabilities come from ``scipy.special``, whose import is a third of that of ``scipy.stats``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resnet_mlflow.errors import InputError

Interval = tuple[float, float]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Below this many discordant pairs the chi-square approximation of McNemar's test is too coarse.
EXACT_BELOW = 25


@dataclass(frozen=True)
class ClassCounts:
    """What accuracy-like metrics need of a confusion matrix, or of many resampled ones at once."""

    hits: Ints  # items of each class that were predicted as it, (..., n_classes)
    support: Ints  # items of each class, (n_classes,): resampling within classes leaves it as it is
    predicted: Ints  # items predicted as each class, (..., n_classes)

    @classmethod
    def of(cls, confusion: ArrayLike) -> "ClassCounts":
        """Return the counts of one ``(n_classes, n_classes)`` confusion matrix, rows being labels."""
        matrix = _counts(confusion)
        return cls(np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


@dataclass(frozen=True)
class PairedDifference:
    """First score minus second on the same items, with its bootstrap interval."""

    difference: float
    interval: Interval
    n_items: int


@dataclass(frozen=True)
class McNemarTest:
    """McNemar's test; ``statistic`` is the smaller count (exact) or the corrected chi-square."""

    n_only_first: int
    n_only_second: int
    statistic: float
    p_value: float
    method: Literal["exact", "chi2"]


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
    z_squared = float(special.ndtri(0.5 + _checked(confidence) / 2)) ** 2
    share = n_correct / n_items
    centre = (share + z_squared / (2 * n_items)) / (1 + z_squared / n_items)
    spread = math.sqrt(z_squared * (share * (1 - share) / n_items + z_squared / (4 * n_items**2)))
    half = spread / (1 + z_squared / n_items)
    return max(0.0, centre - half), min(1.0, centre + half)


def resample_counts(confusion: ArrayLike, n_resamples: int = 1000, seed: int = 0) -> ClassCounts:
    """Return the class counts of bootstrap samples of the items, drawn within each class.

    Drawing the ``n`` items of a class with replacement and counting their predictions *is* one multinomial draw of
    ``n`` with the shares of that class's confusion row. Drawing counts instead of items costs the number of non-zero
    cells, however many items there are.
    """
    matrix = _counts(confusion)
    support = matrix.sum(axis=1)
    rng = np.random.default_rng(seed)
    hits = np.zeros((n_resamples, len(matrix)), dtype=np.int64)
    predicted = np.zeros_like(hits)
    for label in np.flatnonzero(support):
        columns = np.flatnonzero(matrix[label])
        drawn = rng.multinomial(support[label], matrix[label, columns] / support[label], size=n_resamples)
        predicted[:, columns] += drawn
        hits[:, label] = drawn[:, columns == label].sum(axis=1)
    return ClassCounts(hits, support, predicted)


def percentile_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the central ``confidence`` share of ``values``, a bootstrap distribution of any length.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    tail = (1 - _checked(confidence)) / 2
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    confusion: ArrayLike,
    metric: Callable[[ClassCounts], ArrayLike],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return the percentile bootstrap interval, over items stratified by class, of a metric of class counts.

    Args:
        confusion: Counts, rows are labels, ``(n_classes, n_classes)``.
        metric: Takes counts of shape ``(n_resamples, n_classes)``, gives ``(n_resamples,)`` values.
        n_resamples: Bootstrap samples, at least 1.
        seed: Seed of the draws.
        confidence: Coverage, in (0, 1).

    Example:
        >>> bootstrap_interval([[8, 2], [0, 10]], lambda counts: (counts.hits / counts.support).mean(-1))
        (0.75, 1.0)
    """
    return percentile_interval(metric(resample_counts(confusion, n_resamples, seed)), confidence)


def paired_bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> PairedDifference:
    """Return mean score of the first classifier minus that of the second, with an interval over the same items.

    An item is drawn with both its scores, so what makes items hard for both cancels out.

    Args:
        first: Score of each item, such as 1 where the prediction is right, ``(n_items,)``.
        second: Scores of the other classifier on the same items in the same order, ``(n_items,)``.
        classes: Label of each item, ``(n_items,)``. With it, items are drawn within classes and every class weighs the
            same: the difference of balanced accuracies instead of accuracies.
        n_resamples: Bootstrap samples, at least 1.
        seed: Seed of the draws.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``paired scores must have the same items`` does not hold.
    """
    left, right = _paired(first, second)
    labels = np.zeros(len(left), dtype=np.int64) if classes is None else np.asarray(classes)
    if labels.shape != left.shape:
        raise InputError(f"classes must hold one label per item, got {labels.shape} for {left.shape}; pass all labels")
    gains = left - right
    groups = [gains[labels == label] for label in np.unique(labels)]
    rng = np.random.default_rng(seed)
    drawn = np.mean([_resampled_means(group, n_resamples, rng) for group in groups], axis=0)
    difference = float(np.mean([group.mean() for group in groups]))
    return PairedDifference(difference, percentile_interval(drawn, confidence), len(gains))


def _resampled_means(values: Floats, n_resamples: int, rng: np.random.Generator) -> Floats:
    # Scores of right or wrong have three differences only: counting them is drawing items, see resample_counts.
    levels, counts = np.unique(values, return_counts=True)
    return np.asarray(rng.multinomial(len(values), counts / len(values), size=n_resamples) @ levels / len(values))


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
    left, right = _paired(first_correct, second_correct)
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


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Student's t interval of the mean of independent values; ``(nan, nan)`` below two of them.

    Example:
        >>> [round(bound, 3) for bound in t_interval([1.0, 2.0, 3.0])]
        [-0.484, 4.484]
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    quantile = float(special.stdtrit(len(array) - 1, 0.5 + _checked(confidence) / 2))
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


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be in (0, 1), got {confidence:g}; write 0.95 for 95 %")
    return confidence


def _counts(confusion: ArrayLike) -> Ints:
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
        raise InputError(f"confusion must be a square matrix of counts, got shape {matrix.shape}; rows are labels")
    return matrix.astype(np.int64)


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not len(left):
        raise InputError(f"paired scores must have the same items, got {left.shape} and {right.shape}; align by id")
    return left, right
