"""Scores and differences over seeds and test items, with the uncertainty from each and from both together.

All seeds are judged on the same items, so a score has two independent errors: that of the seeds, which Student's t
with ``k - 1`` degrees of freedom covers, and that of the items, which a score interval covers. Their reaches add up as
squares (MOVER), which keeps the level with two seeds already. A bootstrap of ``k`` seeds does not: seeds drawn anew
have ``(k - 1) / k`` of the seeds' variance, and normal tails.

References:
    Zou and Donner (2008), Construction of confidence limits about effect measures: a general approach, Statistics in
    Medicine 27, equation 3, for MOVER; Searle, Casella and McCulloch (1992), Variance Components, section 4.3, for the
    items' own part in a two-way layout; Nadeau and Bengio (2003), Inference for the Generalization Error, Machine
    Learning 52, equation 9, for training splits that overlap.
"""

import math
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


@dataclass(frozen=True)
class Moments:
    """Means and variances of values that seeds and items cross, ``(...)`` each.

    Attributes:
        mean: Weighted over items, over seeds.
        seed_variance: Sample variance of the seeds' means; 0 for one seed.
        square: Mean square of all values.
        mean_square: Mean square of the items' means over these seeds.
        own_square: Mean square of the items' own values: over pairs of seeds, so without what differs by seed.
    """

    mean: Floats
    seed_variance: Floats
    square: Floats
    mean_square: Floats
    own_square: Floats


@dataclass(frozen=True)
class Reach:
    """Ends of intervals, ``(...)`` each, and how far the seeds' part reaches to either side."""

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


def score_reach(
    correct: Floats, weights: Floats, labels: NDArray[np.int64], held_out: float = 0.0, confidence: float = 0.95
) -> Reach:
    """Return the intervals of many scores at once.

    Args:
        correct: Shape ``(..., n_seeds, n_items)``.
        weights: As ``item_weights`` gives them, and ``labels`` too.
        labels: Class of each item, from 0.
        held_out: As ``score_over_seeds``.
        confidence: Coverage, in (0, 1).
    """
    k = correct.shape[-2]
    mean = np.clip((correct @ weights).mean(axis=-1), 0, 1)
    # About the mean over all classes: what sets classes apart counts as chance of the items, which is the safe side.
    moments = crossed_moments(correct - mean[..., None, None], weights)
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    hits = np.add.reduceat(correct.mean(axis=-2)[..., order], np.cumsum(counts) - counts, axis=-1)
    n_effective = effective_items(hits, counts)

    def limits(square: Floats) -> tuple[Floats, Floats]:
        # Seeds that err on different items make more of them, up to k times as many.
        share = np.divide(square, moments.square, out=np.ones(square.shape), where=moments.square > 1e-12)
        return proportion_limits(mean, n_effective / np.maximum(share, 1 / k), confidence)

    seeds = seed_reach(moments.seed_variance, k, held_out, confidence)
    items = limits(moments.mean_square)
    low, high = _together(mean, seeds, limits(moments.own_square), items)
    return Reach(seeds, items, (np.maximum(low, 0), np.minimum(high, 1)))


def difference_reach(
    moments: Moments, weights: Floats, n_seeds: int, held_out: float = 0.0, confidence: float = 0.95
) -> Reach:
    """Return the intervals of many differences at once, from the moments of what items gain."""
    mean, z = np.clip(moments.mean, -1, 1), normal_quantile(confidence)

    def limits(square: Floats) -> tuple[Floats, Floats]:
        n_effective, discordant = _effective_pairs(moments, square, weights, n_seeds)
        only_first, only_second = (n_effective * (discordant + sign * mean) / 2 for sign in (1, -1))
        return tango_limits(only_first, only_second, n_effective, z)

    seeds, items = seed_reach(moments.seed_variance, n_seeds, held_out, confidence), limits(moments.mean_square)
    low, high = _together(mean, seeds, items if n_seeds == 1 else limits(moments.own_square), items)
    return Reach(seeds, items, (np.maximum(low, -1), np.minimum(high, 1)))


def difference_p_value(moments: Moments, weights: Floats, n_seeds: int, held_out: float = 0.0) -> Floats:
    """Return the levels at which intervals of differences over two seeds or more would end at 0.

    The part of the items has its standard error where there is no difference.
    """
    apart, item_square = np.abs(moments.mean), item_error(moments, weights, n_seeds) ** 2
    seed_square = moments.seed_variance * seed_factor(n_seeds, held_out)
    low, high = np.full(apart.shape, -16.0), np.zeros(apart.shape)
    for _ in range(40):
        middle = (low + high) / 2
        tail = 10**middle / 2
        reached = special.stdtrit(n_seeds - 1, tail) ** 2 * seed_square + special.ndtri(tail) ** 2 * item_square
        low, high = np.where(reached < apart**2, low, middle), np.where(reached < apart**2, middle, high)
    return np.where(apart < 1e-12, 1.0, 10**high)


def item_error(moments: Moments, weights: Floats, n_seeds: int) -> Floats:
    """Return the standard error of differences over items, where there is none."""
    n_effective, discordant = _effective_pairs(moments, moments.own_square, weights, n_seeds)
    return np.asarray(np.sqrt(discordant / n_effective))


def _effective_pairs(moments: Moments, square: Floats, weights: Floats, n_seeds: int) -> tuple[Floats, Floats]:
    """Return how many pairs of single runs have the variance of a mean square, and their share of discordant ones.

    Where seeds differ on other items each, as many as there are runs; where on the same ones, as many as items.
    """
    alike = np.divide(square, moments.square, out=np.ones(square.shape), where=moments.square > 0)
    n_times = 1 / np.clip(alike, 1 / n_seeds, 1)
    return n_times / (weights @ weights), np.clip(square * n_times, np.abs(moments.mean), 1)


def _together(
    mean: Floats, seeds: Floats, own: tuple[Floats, Floats], items: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return the ends of both combined: reaches add up as squares; never inside the part of the items."""
    low, high = mean - np.hypot(seeds, mean - own[0]), mean + np.hypot(seeds, own[1] - mean)
    return np.minimum(low, items[0]), np.maximum(high, items[1])


def seed_reach(variance: ArrayLike, n_seeds: int, held_out: float = 0.0, confidence: float = 0.95) -> Floats:
    """Return how far the t interval over seeds reaches to either side; 0 for one seed."""
    if n_seeds < 2:
        return np.zeros(np.shape(variance))
    quantile = float(special.stdtrit(n_seeds - 1, 0.5 + checked_confidence(confidence) / 2))
    return np.asarray(quantile * np.sqrt(np.asarray(variance) * seed_factor(n_seeds, held_out)))


def seed_factor(n_seeds: int, held_out: float) -> float:
    """Return what the variance of a mean over seeds is, over their sample variance.

    ``1 / n`` for independent seeds, and ``held_out`` more where they draw their training items from common ones, which
    makes them more alike than other training items would be.

    References:
        Nadeau and Bengio (2003), equation 9: ``1 / n + n_test / n_train``.
    """
    return 1 / n_seeds + held_out


def nadeau_bengio_test(differences: ArrayLike, n_train: int, n_test: int) -> tuple[float, float]:
    """Return t and the two-sided p value of differences from training splits that overlap.

    The plain t test takes such differences for independent and finds too much. The variance of the mean is
    ``(1/n + n_test/n_train)`` times the sample variance, instead of ``1/n``. Differences that are all the same are
    those of one split, which has no variance: p is then 1.

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
    """Return what each item weighs in the score, summing to one, and its class as a number.

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
