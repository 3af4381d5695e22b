"""Differences over seeds and items together, and over overlapping training splits."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.bootstrap import Floats
from resnet_mlflow.statistics.intervals import Interval, percentile_interval


@dataclass(frozen=True)
class SeededDifference:
    """First score minus second over the same seeds and items; the interval covers the chance of both."""

    difference: float
    interval: Interval
    p_value: float
    n_seeds: int
    n_items: int


def hierarchical_bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> SeededDifference:
    """Return mean score of the first method minus that of the second, with seeds and items both drawn anew.

    All seeds are judged on the same items, so a resample draws seeds, draws items, and takes the mean over their
    crossing. Items whose differences are alike in every seed are drawn together, as one cell of a multinomial.

    Args:
        first: Scores of the first method, ``(n_seeds, n_items)``.
        second: Scores of the second with the same seeds on the same items, ``(n_seeds, n_items)``.
        classes: Label of each item, ``(n_items,)``; with it items are drawn within classes, which all weigh the same.
        n_resamples: Bootstrap samples; the smallest p value is ``2 / (n_resamples + 1)``.
        seed: Seed of the draws.
        confidence: Coverage of the percentile interval, in (0, 1).

    Raises:
        InputError: If ``scores must have the same seeds and items`` does not hold.

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8; the p value is twice the
        smaller share of resamples on one side of 0, with the observed sample counted in (equation 4.11).
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 2 or left.shape != right.shape or not left.size:
        raise InputError(f"scores must have the same seeds and items, got {left.shape} and {right.shape}; align them")
    gains = left - right
    n_seeds, n_items = gains.shape
    labels = np.zeros(n_items, dtype=np.int64) if classes is None else np.asarray(classes)
    rng = np.random.default_rng(seed)
    groups = [gains[:, labels == label] for label in np.unique(labels)]
    by_seed = np.mean([_resampled_seed_means(group, n_resamples, rng) for group in groups], axis=0)
    shares = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples) / n_seeds
    drawn = (by_seed * shares).sum(axis=1)
    difference = float(np.mean([group.mean() for group in groups]))
    # Rounding must not push a resample that is 0 to one side.
    fewer = min(int((drawn <= 1e-12).sum()), int((drawn >= -1e-12).sum()))
    p_value = min(1.0, 2 * (fewer + 1) / (n_resamples + 1))
    return SeededDifference(difference, percentile_interval(drawn, confidence), p_value, n_seeds, n_items)


def _resampled_seed_means(gains: Floats, n_resamples: int, rng: np.random.Generator) -> Floats:
    patterns, counts = np.unique(gains, axis=1, return_counts=True)
    n_items = gains.shape[1]
    return np.asarray(rng.multinomial(n_items, counts / n_items, size=n_resamples) @ patterns.T / n_items)


def nadeau_bengio_test(differences: ArrayLike, n_train: int, n_test: int) -> tuple[float, float]:
    """Return t and the two-sided p value of differences from training splits that overlap.

    The plain t test takes such differences for independent and finds too much. The variance of the mean is
    ``(1/n + n_test/n_train)`` times the sample variance, instead of ``1/n``.

    Args:
        differences: One per split, at least two.
        n_train: Training items of each split.
        n_test: Test items of each split.

    Raises:
        InputError: If there are fewer than two differences.

    References:
        Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52, equation 9.

    Example:
        >>> t, p = nadeau_bengio_test([0.01, 0.02, 0.03], n_train=900, n_test=100)
        >>> round(t, 3), round(p, 3)
        (3.0, 0.095)
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise InputError(f"differences must be at least 2, got {len(values)}; run more seeds")
    error = math.sqrt((1 / len(values) + n_test / n_train) * float(values.var(ddof=1)))
    if error == 0:
        return (0.0, 1.0) if values[0] == 0 else (math.copysign(math.inf, values[0]), 0.0)
    t = float(values.mean()) / error
    return t, 2 * float(special.stdtr(len(values) - 1, -abs(t)))
