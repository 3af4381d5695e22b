"""Scores and differences over seeds and test items, with the uncertainty from each and from both together.

All seeds are evaluated on the same items, so a score has two independent errors: that of the seeds, covered by
Student's t with ``k - 1`` degrees of freedom, and that of the items, covered by a score interval. The squares of their
half-widths add up (MOVER), which keeps the level even with two seeds. A bootstrap of ``k`` seeds does not: resampled
seeds have ``(k - 1) / k`` of the seeds' variance, and normal tails.

References:
    Zou and Donner (2008), Construction of confidence limits about effect measures: a general approach, Statistics in
    Medicine 27, equation 3, for MOVER; Searle, Casella and McCulloch (1992), Variance Components, section 4.3, for the
    items' own part in a two-way layout; Nadeau and Bengio (2003), Inference for the Generalization Error, Machine
    Learning 52, equation 9, for training splits that overlap.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.balanced import effective_items
from resnet_mlflow.statistics.intervals import (
    Floats,
    checked_confidence,
    normal_quantile,
    proportion_limits,
)
from resnet_mlflow.statistics.paired import tango_limits
from resnet_mlflow.statistics.strata import Part, strata_of, summed_limits

# Pseudo-items on which all seeds err: with few errors, how many seeds share them is chance.
ALIKE_ITEMS = 1.0


@dataclass(frozen=True)
class Moments:
    """Means and variances of values crossed by seed and item, ``(...)`` each.

    Attributes:
        mean: Mean over seeds, weighted over items.
        seed_variance: Sample variance of the seeds' means; 0 for one seed.
        square: Mean square of all values.
        mean_square: Mean square of the items' means over these seeds.
        own_square: Mean square of the items' own values: over pairs of seeds, so without variation between seeds.
    """

    mean: Floats
    seed_variance: Floats
    square: Floats
    mean_square: Floats
    own_square: Floats


@dataclass(frozen=True)
class Stratum:
    """Values of the items of classes of similar size, or of all items: their share of the score, and their moments.

    Attributes:
        share: Share of the score, in (0, 1].
        n_items: Their effective number of equally weighted items.
        moments: Moments with weights that sum to one.
    """

    share: float
    n_items: float
    moments: Moments


@dataclass(frozen=True)
class Crossed:
    """Values crossed by seed and item: all of them, and by strata of classes."""

    whole: Stratum
    strata: tuple[Stratum, ...]


@dataclass(frozen=True)
class Reach:
    """Limits of intervals, ``(...)`` each, and the half-width of the seeds' part."""

    seeds: Floats
    over_items: tuple[Floats, Floats]
    together: tuple[Floats, Floats]


def crossed_moments(values: ArrayLike, weights: ArrayLike) -> Moments:
    """Return the moments of values ``(..., n_seeds, n_items)``; squares weigh items by their squared weight."""
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    k = x.shape[-2]
    by_seed, influence = x @ w, w**2 / (w @ w)
    square = (x**2 @ influence).mean(axis=-1)
    mean_square = x.mean(axis=-2) ** 2 @ influence
    own = square if k == 1 else np.maximum((k * mean_square - square) / (k - 1), 0)
    spread = by_seed.var(axis=-1, ddof=1) if k > 1 else np.zeros(square.shape)
    return Moments(by_seed.mean(axis=-1), spread, square, mean_square, own)


def crossed_values(values: Floats, weights: Floats, labels: NDArray[np.int64]) -> Crossed:
    """Return the moments of values ``(..., n_seeds, n_items)``, in all and by strata of classes.

    Args:
        values: Values of every seed and item.
        weights: Result of ``item_weights``, like ``labels``.
        labels: Class of each item, from 0.
    """
    whole = Stratum(1.0, 1 / float(weights @ weights), crossed_moments(values, weights))
    parts = list(_item_strata(labels))
    if len(parts) == 1:
        return Crossed(whole, (whole,))
    strata = []
    for share, rows in parts:
        own = weights[rows] / share
        strata.append(Stratum(share, 1 / float(own @ own), crossed_moments(values[..., rows], own)))
    return Crossed(whole, tuple(strata))


def _item_strata(labels: NDArray[np.int64]) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield each stratum's share of a score, and its items."""
    counts = np.bincount(labels)
    for classes in strata_of(counts):
        yield len(classes) / len(counts), np.flatnonzero(np.isin(labels, classes))


def score_reach(
    correct: Floats, weights: Floats, labels: NDArray[np.int64], held_out: float = 0.0, confidence: float = 0.95
) -> Reach:
    """Return the intervals of many scores at once.

    Args:
        correct: Right or wrong, shape ``(..., n_seeds, n_items)``.
        weights: Result of ``item_weights``, like ``labels``.
        labels: Class of each item, from 0.
        held_out: As for ``score_over_seeds``.
        confidence: Coverage, in (0, 1).
    """
    k, by_seed = correct.shape[-2], correct @ weights
    mean = np.clip(by_seed.mean(axis=-1), 0, 1)
    variance = by_seed.var(axis=-1, ddof=1) if k > 1 else np.zeros(mean.shape)
    own, items = [], []
    for share, rows in _item_strata(labels):
        part = correct[..., rows], weights[rows] / share, np.unique(labels[rows], return_inverse=True)[1]
        score, of_own, of_items = _stratum_limits(*part, confidence)
        own.append(Part(share, score, of_own))
        items.append(Part(share, score, of_items))
    seeds, over_items = seed_reach(variance, k, held_out, confidence), summed_limits(items)
    low, high = _together(mean, seeds, summed_limits(own), over_items)
    return Reach(seeds, _clipped(over_items, 0), _clipped((low, high), 0))


def _stratum_limits(
    correct: Floats, weights: Floats, labels: NDArray[np.int64], confidence: float
) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return a stratum's scores, the limits of the items' own part, and the limits for these seeds on other items."""
    k = correct.shape[-2]
    mean = np.clip((correct @ weights).mean(axis=-1), 0, 1)
    # Around the mean over its classes: differences between classes count as item variance, which is conservative.
    moments = crossed_moments(correct - mean[..., None, None], weights)
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    hits = np.add.reduceat(correct.mean(axis=-2)[..., order], np.cumsum(counts) - counts, axis=-1)
    n_effective, n_items = effective_items(hits, counts), 1 / float(weights @ weights)

    def limits(square: Floats) -> tuple[Floats, Floats]:
        # Seeds that err on different items are worth more items, up to k times as many.
        alike = np.maximum(_alike(square, moments, n_items), 1 / k)
        return proportion_limits(mean, n_effective / alike, confidence)

    return mean, limits(moments.own_square), limits(moments.mean_square)


def difference_reach(values: Crossed, n_seeds: int, held_out: float = 0.0, confidence: float = 0.95) -> Reach:
    """Return the intervals of many differences at once, from the gains of items."""
    z = normal_quantile(confidence)
    own, items = [], []
    for stratum in values.strata:
        moments = stratum.moments
        mean = np.clip(moments.mean, -1, 1)
        of_items = _tango(stratum, moments.mean_square, mean, n_seeds, z)
        of_own = of_items if n_seeds == 1 else _tango(stratum, moments.own_square, mean, n_seeds, z)
        own.append(Part(stratum.share, mean, of_own))
        items.append(Part(stratum.share, mean, of_items))
    whole = values.whole.moments
    seeds, over_items = seed_reach(whole.seed_variance, n_seeds, held_out, confidence), summed_limits(items)
    low, high = _together(np.clip(whole.mean, -1, 1), seeds, summed_limits(own), over_items)
    return Reach(seeds, _clipped(over_items, -1), _clipped((low, high), -1))


def _tango(stratum: Stratum, square: Floats, mean: Floats, n_seeds: int, z: float) -> tuple[Floats, Floats]:
    n_effective, discordant = _effective_pairs(stratum, square, n_seeds)
    only_first, only_second = (n_effective * (discordant + sign * mean) / 2 for sign in (1, -1))
    return tango_limits(only_first, only_second, n_effective, z)


def difference_p_value(values: Crossed, n_seeds: int, held_out: float = 0.0) -> Floats:
    """Return the levels at which intervals of differences over two or more seeds would end at 0.

    The items' part uses the standard error under no difference.
    """
    moments = values.whole.moments
    apart, item_square = np.abs(moments.mean), item_error(values, n_seeds) ** 2
    seed_square = moments.seed_variance * seed_factor(n_seeds, held_out)
    low, high = np.full(apart.shape, -16.0), np.zeros(apart.shape)
    for _ in range(40):
        middle = (low + high) / 2
        tail = 10**middle / 2
        reached = special.stdtrit(n_seeds - 1, tail) ** 2 * seed_square + special.ndtri(tail) ** 2 * item_square
        low, high = np.where(reached < apart**2, low, middle), np.where(reached < apart**2, middle, high)
    return np.where(apart < 1e-12, 1.0, 10**high)


def item_error(values: Crossed, n_seeds: int) -> Floats:
    """Return the standard error over items of a difference, under no difference."""
    n_effective, discordant = _effective_pairs(values.whole, values.whole.moments.own_square, n_seeds)
    return np.asarray(np.sqrt(discordant / n_effective))


def _clipped(limits: tuple[Floats, Floats], least: float) -> tuple[Floats, Floats]:
    """Return limits clipped to the range of scores or differences."""
    return np.maximum(limits[0], least), np.minimum(limits[1], 1)


def _alike(square: Floats, moments: Moments, n_items: float) -> Floats:
    """Return a mean square relative to that of single runs: 1 if seeds err on the same items, less if on others."""
    return np.asarray((n_items * square + ALIKE_ITEMS) / (n_items * moments.square + ALIKE_ITEMS))


def _effective_pairs(stratum: Stratum, square: Floats, n_seeds: int) -> tuple[Floats, Floats]:
    """Return the number of pairs of single runs with the variance of a mean square, and their discordant share.

    It is the number of all pairs of runs and items if each seed differs on other items, and the number of items if all
    differ on the same ones.
    """
    moments = stratum.moments
    n_times = 1 / np.clip(_alike(square, moments, stratum.n_items), 1 / n_seeds, 1)
    return n_times * stratum.n_items, np.clip(square * n_times, np.abs(moments.mean), 1)


def _together(
    mean: Floats, seeds: Floats, own: tuple[Floats, Floats], items: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return the limits of both parts combined: squares of half-widths add up; never inside the items' part."""
    low, high = mean - np.hypot(seeds, mean - own[0]), mean + np.hypot(seeds, own[1] - mean)
    return np.minimum(low, items[0]), np.maximum(high, items[1])


def seed_reach(variance: ArrayLike, n_seeds: int, held_out: float = 0.0, confidence: float = 0.95) -> Floats:
    """Return the half-width of the t interval over seeds; 0 for one seed."""
    if n_seeds < 2:
        return np.zeros(np.shape(variance))
    quantile = float(special.stdtrit(n_seeds - 1, 0.5 + checked_confidence(confidence) / 2))
    return np.asarray(quantile * np.sqrt(np.asarray(variance) * seed_factor(n_seeds, held_out)))


def seed_factor(n_seeds: int, held_out: float) -> float:
    """Return the variance of a mean over seeds relative to their sample variance.

    It is ``1 / n`` for independent seeds, plus ``held_out`` if they draw their training items from a common pool, which
    makes them more alike than independent training items would.

    References:
        Nadeau and Bengio (2003), equation 9: ``1 / n + n_test / n_train``.
    """
    return 1 / n_seeds + held_out


def nadeau_bengio_test(differences: ArrayLike, n_train: int, n_test: int) -> tuple[float, float]:
    """Return t and the two-sided p value of differences from training splits that overlap.

    The plain t test treats these differences as independent and rejects too often. The variance of the mean is
    ``(1/n + n_test/n_train)`` times the sample variance, instead of ``1/n``. If all differences are equal, they count
    as those of one split, which has no variance: p is then 1.

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
    error = math.sqrt(seed_factor(len(values), n_test / n_train) * float(values.var(ddof=1)))
    if error <= 1e-15:
        return 0.0, 1.0
    t = float(values.mean()) / error
    return t, 2 * float(special.stdtr(len(values) - 1, -abs(t)))


def item_weights(n_items: int, classes: ArrayLike | None) -> tuple[Floats, NDArray[np.int64]]:
    """Return each item's weight in the score, summing to one, and its class as a number.

    Raises:
        InputError: If ``classes must contain one label per item`` does not hold.
    """
    if classes is None:
        return np.full(n_items, 1 / n_items), np.zeros(n_items, dtype=np.int64)
    _, labels, counts = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
    if labels.shape != (n_items,):
        raise InputError(
            f"classes must contain one label per item, got {labels.shape} for ({n_items},); pass all labels"
        )
    return 1 / (len(counts) * counts[labels]), labels.astype(np.int64)
