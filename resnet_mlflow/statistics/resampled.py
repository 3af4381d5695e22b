"""Scores and differences over the folds of a cross-validation, which have overlapping training sets.

Training sets of folds mostly overlap, so their scores are not independent observations. The corrected resampled t test
takes the variance of a mean over ``k`` folds as ``1/k + n_test/n_train`` times their sample variance. It accounts for
the images only through the spread of the folds, which is zero if a classifier makes no error. Therefore no interval
here is shorter than that of as many independent images, and no test is more significant than one on the items.

References:
    Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52, equation 9; Bouckaert and
    Frank (2004), Evaluating the Replicability of Significance Tests for Comparing Learning Algorithms, PAKDD, for
    folds that are drawn repeatedly.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.best import POWER, Needed, seed_square
from resnet_mlflow.statistics.crossed import (
    crossed_values,
    difference_reach,
    item_error,
    item_weights,
    nadeau_bengio_test,
    score_reach,
    seed_reach,
)
from resnet_mlflow.statistics.intervals import Floats, Interval, Ints, normal_quantile
from resnet_mlflow.statistics.over_seeds import SeededDifference
from resnet_mlflow.statistics.significance import paired_p_value


@dataclass(frozen=True)
class ResampledScore:
    """A score over the folds of all repeats.

    Attributes:
        mean: Mean over folds.
        std: Sample standard deviation over folds.
        interval: Interval of the mean for other images, both training and held-out ones.
        n_folds: Number of folds in all repeats.
    """

    mean: float
    std: float
    interval: Interval
    n_folds: int


def held_out_of(n_folds: int) -> float:
    """Return the ratio of held-out items to training items of a fold.

    Example:
        >>> held_out_of(5)
        0.25
    """
    return 1 / (n_folds - 1)


def resampled_score(values: ArrayLike, n_folds: int, confidence: float = 0.95) -> ResampledScore:
    """Return the mean of a metric over folds with the corrected resampled t interval.

    Args:
        values: One value per fold of every repeat, at least two.
        n_folds: Number of folds in one repeat.
        confidence: Coverage, in (0, 1).

    Example:
        >>> found = resampled_score([0.8, 0.9, 0.8, 0.9, 0.85], n_folds=5)
        >>> round(found.mean, 2), [round(end, 3) for end in found.interval]
        (0.85, [0.757, 0.943])
    """
    array = np.asarray(values, dtype=np.float64)
    mean, variance = float(array.mean()), float(array.var(ddof=1))
    reach = float(seed_reach(variance, len(array), held_out_of(n_folds), confidence))
    return ResampledScore(mean, variance**0.5, (mean - reach, mean + reach), len(array))


def cross_validated_score(
    correct: ArrayLike, folds: ArrayLike, *, classes: ArrayLike | None = None, confidence: float = 0.95
) -> ResampledScore:
    """Return the mean accuracy over folds with its interval, which is at least as long as that over the items alone.

    Args:
        correct: Which items were predicted right when held out, ``(n_repeats, n_items)``.
        folds: Fold that held each item out, in ``[0, n_folds)``, of the same shape.
        classes: Label of each item, ``(n_items,)``; with it the score is balanced accuracy.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``folds must hold one fold per prediction`` does not hold.
    """
    right, held = _checked(correct, folds)
    found = resampled_score(fold_scores(right, held, classes), int(held.max()) + 1, confidence)
    weights, labels = item_weights(right.shape[1], classes)
    items = score_reach(right, weights, labels, confidence=confidence).over_items
    low, high = _widest(found.interval, items)
    return ResampledScore(found.mean, found.std, (max(low, 0.0), min(high, 1.0)), found.n_folds)


def cross_validated_difference(
    first: ArrayLike, second: ArrayLike, folds: ArrayLike, *, classes: ArrayLike | None = None, confidence: float = 0.95
) -> SeededDifference:
    """Return the mean over folds of the first accuracy minus the second, on the same folds.

    The interval is the corrected resampled t interval, or Tango's interval over the items if that reaches further; p is
    the larger value of both tests.

    Args:
        first: Which items the first method predicts right when held out, ``(n_repeats, n_items)``.
        second: The same for the second method.
        folds: Fold that held each item out, of the same shape.
        classes: Label of each item, ``(n_items,)``; with it the scores are balanced accuracies.
        confidence: Coverage, in (0, 1).

    Returns:
        ``n_seeds`` is the number of folds in all repeats, and ``over_seeds`` the resampled interval.

    Raises:
        InputError: If ``folds must hold one fold per prediction`` does not hold.
    """
    (left, held), (right, _) = _checked(first, folds), _checked(second, folds)
    n_folds = int(held.max()) + 1
    gains = fold_scores(left, held, classes) - fold_scores(right, held, classes)
    found = resampled_score(gains, n_folds, confidence)
    weights, labels = item_weights(left.shape[1], classes)
    values, k = crossed_values(left - right, weights, labels), len(left)
    items, error = difference_reach(values, k, 0.0, confidence).over_items, float(item_error(values, k))
    p_folds = nadeau_bengio_test(gains, n_train=n_folds - 1, n_test=1)[1]
    return SeededDifference(
        round(found.mean, 15) + 0.0,
        _widest(found.interval, items),
        max(p_folds, _item_p_value(left - right, weights, float(values.whole.moments.mean), error)),
        len(gains),
        left.shape[1],
        over_seeds=found.interval,
        over_items=(float(items[0]), float(items[1])),
        seed_variance=found.std**2,
        item_error=error,
    )


def needed_over_folds(found: SeededDifference, n_rivals: int, n_folds: int, confidence: float = 0.95) -> Needed:
    """Return the number of images that would separate two methods at the observed difference, with the same folds.

    Both the spread of the folds and the error over the images decrease with the number of images; the larger one
    counts.

    Args:
        found: Result of ``cross_validated_difference``.
        n_rivals: Number of comparisons that share the level.
        n_folds: Number of folds in one repeat.
        confidence: Confidence level of the set of the best.
    """
    if found.difference == 0:
        return Needed(math.nan, math.nan)
    tail, power = (1 - confidence) / (2 * n_rivals), float(special.ndtri(POWER))
    of_folds = seed_square(found, found.n_seeds, tail, power, held_out_of(n_folds))
    of_items = ((normal_quantile(1 - 2 * tail) + power) * found.item_error) ** 2
    return Needed(math.ceil(found.n_items * max(of_folds, of_items) / found.difference**2), math.nan)


def fold_scores(correct: Floats, folds: Ints, classes: ArrayLike | None = None) -> Floats:
    """Return the accuracy of each fold, ``(n_repeats * n_folds,)``; balanced over the classes in the fold.

    Example:
        >>> fold_scores(np.array([[1.0, 0, 1, 1]]), np.array([[0, 0, 1, 1]]), classes=[0, 1, 0, 1]).tolist()
        [0.5, 1.0]
    """
    labels = None if classes is None else np.asarray(classes)
    scores = []
    for right, held in zip(correct, folds, strict=True):
        for fold in range(int(folds.max()) + 1):
            rows = held == fold
            weights, _ = item_weights(int(rows.sum()), None if labels is None else labels[rows])
            scores.append(float(right[rows] @ weights))
    # Rounded to 15 digits, so that a fold without errors scores 1.
    return np.round(scores, 15)


def _item_p_value(gains: Floats, weights: Floats, mean: float, error: float) -> float:
    """Return the p value over the items: exact for one repeat, from normal tails of the mean for several."""
    if len(gains) == 1:
        return paired_p_value(gains[0], weights)
    return 1.0 if error <= 0 else 2 * float(special.ndtr(-abs(mean) / error))


def _widest(first: Interval, second: tuple[Floats, Floats]) -> Interval:
    return min(first[0], float(second[0])), max(first[1], float(second[1]))


def _checked(correct: ArrayLike, folds: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    right, held = np.atleast_2d(np.asarray(correct, dtype=np.float64)), np.atleast_2d(np.asarray(folds, dtype=np.int64))
    if right.shape != held.shape or held.min() < 0 or held.max() < 1:
        raise InputError(
            f"folds must contain one fold per prediction and at least two folds, got {held.shape} for {right.shape}; "
            f"align"
        )
    return right, held
