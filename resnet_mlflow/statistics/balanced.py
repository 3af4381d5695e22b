"""Intervals of scores with equal class weights, balanced accuracy and macro-F1, also for few images per class.

A bootstrap within classes fails there: resampling the ``n`` items of a class gives ``(n - 1) / n`` of their variance,
and none if the class has no error. Here the variance is that of recalls shrunk towards their common mean, and at least
the variance if all classes had that mean. The score is then treated as a proportion of the number of items that gives
this variance (the effective sample size of survey statistics), with the modified Wilson interval. Classes of different
sizes have no common mean: their score is the sum over strata, see ``strata``.

References:
    Korn and Graubard (1998), Confidence Intervals for Proportions with Small Expected Number of Positive Counts
    Estimated from Survey Data, Survey Methodology 24; Franco, Little, Louis and Slud (2019), Comparative Study of
    Confidence Intervals for Proportions in Complex Sample Surveys, JSSAM 7; pseudo-items as in Agresti and Coull
    (1998), Approximate is Better than "Exact" for Interval Estimation of Binomial Proportions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.intervals import Floats, Interval, Ints, proportion_limits
from resnet_mlflow.statistics.strata import Part, strata_of, summed_limits

# Number of pseudo-items with the mean recall that are added to each class: z^2 at 95 %, as in Agresti and Coull.
PSEUDO_ITEMS = 3.84
# Up to this many items of a class the bias of its F1 is summed; for more, it is below a hundredth of the interval.
MOST_SUMMED = 20


@dataclass(frozen=True)
class ClassCounts:
    """Counts from a confusion matrix for accuracy-like metrics."""

    hits: Ints  # correctly predicted items of each class, (n_classes,)
    support: Ints  # items of each class, (n_classes,)
    predicted: Ints  # items predicted as each class, (n_classes,)

    @classmethod
    def of(cls, confusion: ArrayLike) -> "ClassCounts":
        """Return the counts of one ``(n_classes, n_classes)`` confusion matrix with labels as rows."""
        matrix = _counts(confusion)
        return cls(np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def balanced_accuracy_interval(confusion: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean recall over classes with items.

    If all classes have the same number of items, it equals the interval of accuracy, unless recalls differ so much
    between classes that the variance is larger.

    Args:
        confusion: Counts, rows are labels, ``(n_classes, n_classes)``.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``confusion must be a square matrix of counts`` does not hold.

    Example:
        >>> [round(bound, 3) for bound in balanced_accuracy_interval([[15, 0], [0, 15]])]
        [0.886, 1.0]
    """
    counts = ClassCounts.of(confusion)
    present = counts.support > 0
    low, high = recall_limits(counts.hits[present], counts.support[present], confidence)
    return float(low), float(high)


def recall_limits(hits: ArrayLike, support: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the limits of the intervals of many mean recalls, ``(...)``.

    Args:
        hits: Right items by class, ``(..., n_classes)``.
        support: Items by class, all positive, ``(n_classes,)``.
        confidence: Coverage, in (0, 1).
    """
    right, n, parts = np.asarray(hits, dtype=np.float64), np.asarray(support), []
    for classes in strata_of(n):
        own, items = right[..., classes], n[classes]
        mean = (own / items).mean(axis=-1)
        limits = proportion_limits(mean, effective_items(own, items), confidence)
        parts.append(Part(len(classes) / len(n), mean, limits))
    low, high = summed_limits(parts)
    return np.maximum(low, 0), np.minimum(high, 1)


def effective_items(hits: ArrayLike, support: ArrayLike) -> Floats:
    """Return the effective number of items of a balanced accuracy: with so many, an accuracy has its variance.

    With ``a = 1 / (n_classes^2 support)`` the variance is ``sum(a p (1 - p))``, where ``p`` is each class's recall
    shrunk by ``PSEUDO_ITEMS`` towards the mean recall weighted by ``a``, and at least ``sum(a) b (1 - b)``, where ``b``
    is the score itself.

    Args:
        hits: Right items by class, or their mean over seeds, ``(..., n_classes)``.
        support: Items by class, all positive, ``(n_classes,)``.

    Returns:
        Shape ``(...)``, at most ``1 / sum(a)``, which is the number of items if all classes have the same size.
    """
    right, n = np.asarray(hits, dtype=np.float64), np.asarray(support, dtype=np.float64)
    influence = _influence(n)
    score = (right / n).mean(axis=-1)
    pooled = (right / n) @ influence / influence.sum()
    shrunk = (right + PSEUDO_ITEMS * pooled[..., None]) / (n + PSEUDO_ITEMS)
    return _effective(score, (shrunk * (1 - shrunk)) @ influence, float(influence.sum()))


def macro_f1_interval(confusion: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean F1 over classes with items.

    The variance is that of the linear terms of F1 in the predictions of each class (delta method). Rows of the
    confusion matrix are shrunk like the recalls in ``effective_items``, and errors are in proportion to the columns.
    Rows are independent of each other, so the rows of a stratum give its part.

    Args:
        confusion: Counts, rows are labels, ``(n_classes, n_classes)``.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``confusion must be a square matrix of counts`` does not hold.

    References:
        Takahashi, Yamamoto, Kuchiba and Koyama (2022), Confidence Interval for Micro-Averaged F1 and Macro-Averaged F1
        Scores, Applied Intelligence 52, for the delta method.

    Example:
        >>> [round(bound, 3) for bound in macro_f1_interval([[15, 0], [0, 15]])]
        [0.886, 1.0]
    """
    matrix = _counts(confusion)
    counts = ClassCounts.of(matrix)
    (own,) = np.nonzero(counts.support)
    n_present, n = len(own), counts.support[own].astype(np.float64)
    totals = (counts.support + counts.predicted).astype(np.float64)
    f1 = np.divide(2 * counts.hits, totals, out=np.zeros(len(totals)), where=totals > 0)
    # Contribution of one item of each label to the mean, by prediction; classes without items contribute only errors.
    gain = np.where(counts.support > 0, -f1 / np.maximum(totals, 1), 0.0) / n_present
    hit = 2 / (np.maximum(totals, 1) * n_present)
    strata = strata_of(n)
    shares = _shrunk_rows(matrix[own], own, strata)
    diagonal = shares[np.arange(n_present), own]
    mean = shares @ gain + diagonal * hit[own]
    square = shares @ gain**2 + diagonal * (2 * gain[own] * hit[own] + hit[own] ** 2)
    false = n @ shares[:, own] - n * diagonal
    bias = _f1_bias(n, diagonal, false)
    parts = []
    for classes in strata:
        share, score = len(classes) / n_present, float(f1[own[classes]].mean())
        variance = np.asarray(n[classes] @ (square - mean**2)[classes]) / share**2
        # F1 of a few images is biased; the interval extends to where it would be without the bias.
        ends = np.clip([score, score - float(bias[classes].mean())], 0, 1)
        limits = proportion_limits(ends, _effective(ends, variance, _influence(n[classes]).sum()), confidence)
        parts.append(Part(share, ends, limits))
    low, high = summed_limits(parts)
    return max(0.0, float(low.min())), min(1.0, float(high.max()))


def _f1_bias(n_items: Floats, recall: Floats, n_false: Floats) -> Floats:
    """Return the bias of each class's F1: hits are binomial, false alarms Poisson."""
    bias, small = np.zeros(len(n_items)), n_items <= MOST_SUMMED
    if not small.any():
        return bias
    n, p, rate = n_items[small], recall[small], np.minimum(n_false[small], MOST_SUMMED)
    hits = np.arange(int(n.max()) + 1)[:, None, None]
    # Six standard deviations of the largest number of false alarms.
    alarms = np.arange(int(rate.max() + 6 * np.sqrt(rate.max())) + 4)[None, :, None]
    log_p, log_q = np.log(np.maximum(p, 1e-12)), np.log(np.maximum(1 - p, 1e-12))
    ways = special.gammaln(n + 1) - special.gammaln(hits + 1) - special.gammaln(np.maximum(n - hits, 0) + 1)
    chance = np.where(hits <= n, np.exp(ways + hits * log_p + (n - hits) * log_q), 0)
    chance = chance * np.exp(alarms * np.log(np.maximum(rate, 1e-12)) - rate - special.gammaln(alarms + 1))
    expected = (chance * 2 * hits / (n + hits + alarms)).sum(axis=(0, 1))
    bias[small] = expected - 2 * n * p / (n + n * p + rate)
    return bias


def _shrunk_rows(rows: Ints, own: Ints, strata: Sequence[Ints]) -> Floats:
    """Return shares of predictions by class, each row shrunk by ``PSEUDO_ITEMS`` towards the recall of its stratum."""
    n, lines = rows.sum(axis=1), np.arange(len(rows))
    recall = np.empty(len(rows))
    for classes in strata:
        influence = _influence(n[classes])
        recall[classes] = rows[classes, own[classes]] / n[classes] @ (influence / influence.sum())
    errors = rows.sum(axis=0).astype(np.float64)
    errors[own] -= rows[lines, own]
    spread = np.tile(errors + 1 / len(errors), (len(rows), 1))
    spread[lines, own] = 0
    prior = (1 - recall)[:, None] * spread / np.maximum(spread.sum(axis=1, keepdims=True), 1e-12)
    prior[lines, own] = recall
    return np.asarray((rows + PSEUDO_ITEMS * prior) / (n[:, None] + PSEUDO_ITEMS))


def _influence(n: ArrayLike) -> Floats:
    """Return the contribution of the variance of one item of each class to that of a mean over classes."""
    items = np.asarray(n, dtype=np.float64)
    return 1 / (len(items) ** 2 * items)


def _effective(score: Floats, variance: Floats, influence: float) -> Floats:
    """Return the number of items with which a proportion has the variance, or that of equal recalls if it is larger."""
    equal = score * (1 - score)
    most = np.full(equal.shape, 1 / influence)
    return np.asarray(np.minimum(most, np.divide(equal, variance, out=most.copy(), where=(variance > 0) & (equal > 0))))


def _counts(confusion: ArrayLike) -> Ints:
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
        raise InputError(f"confusion must be a square matrix of counts, got shape {matrix.shape}; rows are labels")
    return matrix.astype(np.int64)
