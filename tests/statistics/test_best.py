"""The confidence set of the best, and what would tell."""

import math

import numpy as np
import pytest
from scipy import stats

from resnet_mlflow.statistics import Pair, SeededDifference, best_set, difference_over_seeds, needed


def pair(first: int, second: int, difference: float, p_value: float) -> Pair:
    interval = (-1.0, 1.0) if p_value > 0.05 else (difference / 2, difference * 2)
    return Pair(first, second, SeededDifference(difference, interval, p_value, 1, 100), p_value)


def test_best_set_leaves_out_what_another_one_beats() -> None:
    pairs = [pair(0, 1, 0.01, 0.4), pair(0, 2, 0.2, 0.001), pair(1, 2, 0.19, 0.002)]
    assert best_set(3, pairs) == (0, 1)


def test_best_set_shares_the_level_among_rivals() -> None:
    # 0.03 is below 0.05, but not below 0.05 / 2.
    pairs = [pair(0, 1, 0.1, 0.03), pair(0, 2, 0.1, 0.02), pair(1, 2, 0.0, 1.0)]
    assert best_set(3, pairs) == (0, 1)
    assert best_set(2, pairs[:1]) == (0,)


def test_best_set_keeps_rows_that_were_not_compared() -> None:
    assert best_set(3, [pair(0, 1, -0.2, 0.001)]) == (1, 2)
    assert best_set(1, []) == (0,)


@pytest.mark.parametrize("n_methods", [2, 5])
def test_best_set_holds_the_best_as_often_as_it_says(n_methods: int) -> None:
    rng = np.random.default_rng(n_methods)
    held = 0
    for _ in range(300):
        # All are equal: whichever is called the best must stay, here the first.
        right = rng.random((n_methods, 200)) < 0.85
        pairs = [
            Pair(i, j, found := difference_over_seeds(right[i], right[j]), found.p_value)
            for i in range(n_methods)
            for j in range(i)
        ]
        held += 0 in best_set(n_methods, pairs)
    assert held / 300 >= 0.93


def test_needed_items_is_the_textbooks_number() -> None:
    # Connor (1987) with 10 % discordant and 5 points difference, in its simple form: n = (z + z)^2 * 0.1 / 0.05^2.
    first, second = (np.repeat(values, [15, 5, 180]) for values in ([1, 0, 1], [0, 1, 1]))
    wanted = needed(difference_over_seeds(first, second))
    quantiles = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert wanted.n_items == math.ceil(round(quantiles**2 * 0.1 / 0.05**2, 6))
    assert math.isnan(wanted.n_seeds), "one seed says nothing about others"


def test_needed_seeds_falls_with_their_spread_and_may_not_exist() -> None:
    found = SeededDifference(0.02, (-0.01, 0.05), 0.2, 3, 1000, seed_variance=1e-4, item_error=0.002)
    few = needed(found)
    assert 3 < few.n_seeds < 10
    assert math.isnan(few.n_items), "the seeds alone are too few"
    assert math.isnan(needed(SeededDifference(0.002, (-0.01, 0.02), 0.8, 3, 1000, (0, 0), (0, 0), 1e-4, 0.002)).n_seeds)
    # What seeds share does not fall with their number.
    assert math.isnan(needed(found, held_out=0.5).n_seeds)
