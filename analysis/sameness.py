"""How closely the numbers of two runs agree, and how closely they should."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from resnet_mlflow.tracking import Predictions

# Digits after the decimal point to which fp32 metrics agree on any machine.
STATED_DIGITS = 4
# The number of digits that equal numbers share; others share fewer, however close they are.
MOST_DIGITS = 15


class Sameness(IntEnum):
    """A degree of agreement; higher is closer. ``docs/evidence.md`` says which to expect when."""

    DIFFERS = 0
    DIGITS = 1
    BIT = 2


@dataclass(frozen=True)
class SplitDifference:
    """How the predictions of two runs differ on a split.

    Attributes:
        n_items: Number of items that either run has.
        n_changed: Number of items with different predictions, or missing from one of the runs.
        score: Largest difference of a score, in [0, 1]; NaN if items or classes differ.
    """

    n_items: int
    n_changed: int
    score: float

    @property
    def same(self) -> bool:
        """Return whether there is no difference."""
        return self.n_changed == 0 and self.score == 0


def compare_predictions(first: Predictions, second: Predictions) -> SplitDifference:
    """Return how the predictions of two runs differ; items are matched by id, equal ids in the order of logging."""
    left, right = (run.item_ids.argsort(kind="stable") for run in (first, second))
    if not np.array_equal(first.item_ids[left], second.item_ids[right]) or first.class_names != second.class_names:
        n_items = max(len(left), len(right))
        return SplitDifference(n_items, n_items, math.nan)
    changed = first.predictions[left] != second.predictions[right]
    scores = np.abs(first.scores[left].astype(np.float64) - second.scores[right])
    return SplitDifference(len(left), int(changed.sum()), float(scores.max(initial=0.0)))


def shared_digits(pairs: Iterable[tuple[float | None, float | None]]) -> int:
    """Return to how many digits after the decimal point all pairs agree; for numbers above 1, relative to their size.

    Args:
        pairs: Numbers of two runs; ``None`` if one run has none, which counts as 0 digits.

    Example:
        >>> shared_digits([(0.9, 0.9), (0.12345678, 0.12345612)]), shared_digits([(0.972, 0.969)])
        (5, 2)
    """
    return min((_digits(*pair) for pair in pairs), default=MOST_DIGITS)


def _digits(first: float | None, second: float | None) -> int:
    if first is None or second is None:
        return 0
    if first == second or (math.isnan(first) and math.isnan(second)):
        return MOST_DIGITS
    distance = abs(first - second) / max(1.0, abs(first), abs(second))
    if not math.isfinite(distance):
        return 0
    # Less than half a unit of the last digit.
    return min(MOST_DIGITS - 1, max(0, math.floor(-math.log10(2 * distance))))


def classify(
    metrics: Mapping[str, tuple[float | None, float | None]], splits: Mapping[str, SplitDifference]
) -> tuple[Sameness, int]:
    """Return the degree of agreement of two runs, and to how many digits their metrics agree.

    Args:
        metrics: Both values of each metric, by name.
        splits: Differences between predictions, by split.
    """
    digits = shared_digits(metrics.values())
    if digits == MOST_DIGITS and all(split.same for split in splits.values()):
        return Sameness.BIT, digits
    unchanged = all(split.n_changed == 0 for split in splits.values())
    return (Sameness.DIGITS if unchanged and digits >= STATED_DIGITS else Sameness.DIFFERS), digits


def expected(precisions: Iterable[str | None], *, one_machine: bool, descends: bool) -> Sameness:
    """Return the degree of agreement that two runs of the same code and data should have.

    Args:
        precisions: Precisions of both runs, ``fp32``, ``bf16`` or ``int8``; ``None`` if unknown.
        one_machine: Whether both ran on the same machine with the same number of threads.
        descends: Whether something was trained by gradient descent, whose steps amplify rounding errors.

    Example:
        >>> for one_machine in (True, False):
        ...     [expected(["fp32"], one_machine=one_machine, descends=descends).name for descends in (False, True)]
        ['BIT', 'BIT']
        ['DIGITS', 'DIFFERS']
    """
    if set(precisions) != {"fp32"}:
        return Sameness.DIFFERS
    if one_machine:
        return Sameness.BIT
    return Sameness.DIFFERS if descends else Sameness.DIGITS
