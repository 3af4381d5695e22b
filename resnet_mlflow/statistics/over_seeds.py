"""Scores over seeds, and differences of two methods over the same seeds: intervals by part and in total, and tests."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.crossed import (
    crossed_values,
    difference_p_value,
    difference_reach,
    item_error,
    item_weights,
    score_reach,
)
from resnet_mlflow.statistics.intervals import Floats, Interval
from resnet_mlflow.statistics.significance import paired_p_value

UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class SeededScore:
    """A score over seeds with its intervals; ``over_seeds`` is NaN below two seeds that differ.

    Attributes:
        mean: Mean over the seeds that differ.
        over_seeds: Interval for other seeds on these test items.
        over_items: Interval for these seeds on other test items.
        interval: Interval for both: other seeds on other test items.
        n_seeds: Number of seeds that differ in the items they get right.
    """

    mean: float
    over_seeds: Interval
    over_items: Interval
    interval: Interval
    n_seeds: int


@dataclass(frozen=True)
class SeededDifference:
    """First score minus second over the same seeds and items; ``interval`` and ``p_value`` cover both sources.

    Attributes:
        difference: Difference of the means over the seeds that differ.
        interval: Interval for other seeds on other test items.
        p_value: Two-sided, for no difference; for one seed, that of ``paired_p_value``.
        n_seeds: Number of pairs of runs that differ in the items they get right.
        n_items: Number of test items.
        over_seeds: Interval for other seeds on these test items; NaN below two seeds.
        over_items: Interval for these seeds on other test items.
        seed_variance: Sample variance of the difference over seeds; NaN below two seeds.
        item_error: Standard error of the items' part.
    """

    difference: float
    interval: Interval
    p_value: float
    n_seeds: int
    n_items: int
    over_seeds: Interval = UNKNOWN
    over_items: Interval = UNKNOWN
    seed_variance: float = math.nan
    item_error: float = math.nan


def score_over_seeds(
    correct: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    held_out: float = 0.0,
    confidence: float = 0.95,
) -> SeededScore:
    """Return a method's accuracy over seeds, with intervals over seeds, over items, and over both.

    Args:
        correct: Items that each seed gets right, ``(n_seeds, n_items)``. Seeds that get the same items right count as
            one.
        classes: Label of each item, ``(n_items,)``; with it the score is balanced accuracy.
        held_out: Ratio of the common training items that a seed holds out to those it trains on; see ``seed_factor``. 0
            if seeds do not draw their training items.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``scores must have the same seeds and items`` does not hold.
    """
    (right,) = _distinct_seeds(correct)
    weights, labels = item_weights(right.shape[1], classes)
    # Rounded to 15 digits, so that a classifier without errors scores 1.
    mean = round(float((right @ weights).mean()), 15)
    reach = score_reach(right, weights, labels, held_out, confidence)
    over_seeds = _around(mean, float(reach.seeds)) if len(right) > 1 else UNKNOWN
    return SeededScore(mean, over_seeds, _ends(reach.over_items), _ends(reach.together), len(right))


def difference_over_seeds(
    first: ArrayLike,
    second: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    held_out: float = 0.0,
    confidence: float = 0.95,
) -> SeededDifference:
    """Return the accuracy of the first method minus that of the second, on the same seeds and test items.

    The items' part is Tango's interval, and the seeds' part Student's t; with one seed there is only the former. For
    balanced accuracies, items are weighted: Tango's interval then uses effective counts, one interval for each stratum
    of classes of similar size, and the squares of their half-widths add up.

    Args:
        first: Items that the first method gets right, ``(n_seeds, n_items)``, or ``(n_items,)`` for one seed.
        second: The same for the second, with the same seeds on the same items.
        classes: Label of each item, ``(n_items,)``; with it the scores are balanced accuracies.
        held_out: As for ``score_over_seeds``.
        confidence: Coverage, in (0, 1).

    Raises:
        InputError: If ``scores must have the same seeds and items`` does not hold.

    References:
        Tango (1998), Statistics in Medicine 17; see the module for the others.
    """
    left, right = _distinct_seeds(first, second)
    weights, labels = item_weights(left.shape[1], classes)
    gains, k = left - right, len(left)
    values = crossed_values(gains, weights, labels)
    moments, reach = values.whole.moments, difference_reach(values, k, held_out, confidence)
    difference, error = round(float(moments.mean), 15) + 0.0, float(item_error(values, k))
    p_value = paired_p_value(gains[0], weights) if k == 1 else float(difference_p_value(values, k, held_out))
    return SeededDifference(
        difference,
        _ends(reach.together),
        p_value,
        k,
        gains.shape[1],
        _around(difference, float(reach.seeds)) if k > 1 else UNKNOWN,
        _ends(reach.over_items),
        float(moments.seed_variance) if k > 1 else math.nan,
        error,
    )


def distinct_seeds(metrics: Mapping[int, Mapping[str, float]]) -> list[int]:
    """Return the seeds without those that repeat an earlier one's results: a seed that changes nothing does not count.

    NLL and ECE decide: two different classifiers do not agree in these to the last digit.

    Args:
        metrics: Metrics by seed. Unless NLL or ECE is known for all, every seed counts.

    Example:
        >>> distinct_seeds({0: {"test/ece": 0.1}, 1: {"test/ece": 0.1}, 2: {"test/ece": 0.2}})
        [0, 2]
    """
    names = sorted({name for own in metrics.values() for name in own if name.endswith(("/nll", "/ece"))})
    telling = [name for name in names if all(not math.isnan(own.get(name, math.nan)) for own in metrics.values())]
    first: dict[object, int] = {}
    for seed, own in metrics.items():
        first.setdefault(tuple(own[name] for name in telling) or seed, seed)
    return list(first.values())


def _ends(limits: tuple[Floats, Floats]) -> Interval:
    return float(limits[0]), float(limits[1])


def _around(mean: float, reach: float) -> Interval:
    return mean - reach, mean + reach


def _distinct_seeds(*scores: ArrayLike) -> tuple[Floats, ...]:
    """Return scores as ``(n_seeds, n_items)`` arrays, without seeds that repeat another one's scores in all of them."""
    arrays = [np.atleast_2d(np.asarray(score, dtype=np.float64)) for score in scores]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2 or not arrays[0].size:
        text = " and ".join(str(array.shape) for array in arrays)
        raise InputError(f"scores must have the same seeds and items, got {text}; align them")
    rows = {b"".join(array[seed].tobytes() for array in arrays): seed for seed in reversed(range(len(arrays[0])))}
    kept = sorted(rows.values())
    return tuple(array[kept] for array in arrays)
