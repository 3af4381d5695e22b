"""Which methods may be the best, and how much data would separate them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from resnet_mlflow.statistics.crossed import seed_factor
from resnet_mlflow.statistics.intervals import normal_quantile
from resnet_mlflow.statistics.over_seeds import SeededDifference

POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Pair:
    """The difference of two rows, first minus second, and its p value after Holm's correction over all pairs."""

    first: int
    second: int
    difference: SeededDifference
    adjusted_p: float

    @property
    def separated(self) -> bool:
        """Return whether the interval excludes 0 and the adjusted p value is below 0.05."""
        low, high = self.difference.interval
        return (low > 0 or high < 0) and self.adjusted_p < 0.05


@dataclass(frozen=True)
class Needed:
    """Test items and seeds that would separate two methods with 80 % power; NaN if none would.

    Attributes:
        n_items: Test items, for the given number of seeds.
        n_seeds: Seeds, for the given number of test items.
    """

    n_items: float
    n_seeds: float


def best_set(n_rows: int, pairs: Sequence[Pair], confidence: float = 0.95) -> tuple[int, ...]:
    """Return the rows that may be the best: with the stated confidence the truly best one is among them.

    A row is excluded if another one is better in a test at level ``(1 - confidence) / (n_rows - 1)``. The best row can
    be excluded only by one of ``n_rows - 1`` false alarms, which Bonferroni's inequality bounds.

    Args:
        n_rows: Number of rows compared.
        pairs: Their differences; a missing pair excludes neither row.
        confidence: Confidence level of the set, in (0, 1).

    References:
        Gupta (1965), On some multiple decision (selection and ranking) rules, Technometrics 7, for the set; Hsu (1981),
        Simultaneous confidence intervals for all distances from the "best", Annals of Statistics 9.
    """
    level = (1 - confidence) / max(1, n_rows - 1)
    beaten = {
        pair.second if pair.difference.difference > 0 else pair.first
        for pair in pairs
        if pair.difference.p_value <= level and pair.difference.difference != 0
    }
    return tuple(row for row in range(n_rows) if row not in beaten)


def needed(found: SeededDifference, n_rivals: int = 1, held_out: float = 0.0, confidence: float = 0.95) -> Needed:
    """Return the number of test items, or of seeds, that would separate two methods.

    The two parts of the uncertainty together must be smaller than the difference:
    ``d^2 >= (q_seeds s_seeds)^2 + (q_items s_items)^2``, where ``q`` is the quantile of the level plus that of the
    power, from Student's t for seeds.

    Args:
        found: The observed difference.
        n_rivals: Number of comparisons that share the level.
        held_out: As for ``difference_over_seeds``.
        confidence: Confidence level of the set of the best.

    References:
        Connor (1987), Sample size for testing differences in proportions for the paired-sample design, Biometrics 43,
        for the part of the items.
    """
    tail = (1 - confidence) / (2 * n_rivals)
    square, power = found.difference**2, float(special.ndtri(POWER))
    of_items = ((normal_quantile(1 - 2 * tail) + power) * found.item_error) ** 2
    of_seeds = seed_square(found, found.n_seeds, tail, power, held_out)
    left = square - of_seeds
    n_items = math.ceil(found.n_items * of_items / left) if left > 0 else math.nan
    if math.isnan(found.seed_variance):
        return Needed(n_items, math.nan)
    enough = (k for k in range(2, MOST_SEEDS) if seed_square(found, k, tail, power, held_out) + of_items <= square)
    return Needed(n_items, next(enough, math.nan))


def seed_square(found: SeededDifference, n_seeds: int, tail: float, power: float, held_out: float) -> float:
    """Return the square of the difference that this number of seeds can detect; 0 for one seed."""
    if n_seeds < 2 or math.isnan(found.seed_variance):
        return 0.0
    quantile = -float(special.stdtrit(n_seeds - 1, tail)) + power
    return quantile**2 * found.seed_variance * seed_factor(n_seeds, held_out)
