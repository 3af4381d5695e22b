"""Bootstrap intervals over items: of one score, and of the difference of two on the same items."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.intervals import Interval, percentile_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    left, right = paired_scores(first, second)
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


def _counts(confusion: ArrayLike) -> Ints:
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
        raise InputError(f"confusion must be a square matrix of counts, got shape {matrix.shape}; rows are labels")
    return matrix.astype(np.int64)


def paired_scores(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Return the scores of two classifiers as arrays, refused where they are not of the same items."""
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not len(left):
        raise InputError(f"paired scores must have the same items, got {left.shape} and {right.shape}; align by id")
    return left, right
