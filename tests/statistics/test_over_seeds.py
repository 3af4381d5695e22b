"""Paired differences and scores over seeds: against published tables, likelihoods found by SciPy, and plain cases."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    accuracy_interval,
    difference_over_seeds,
    paired_p_value,
    score_over_seeds,
    t_interval,
    tango_interval,
)


def outcomes(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], counts), np.repeat([1.0, 0.0, 1.0, 0.0], counts)


def test_tango_interval_is_the_published_one() -> None:
    # Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, airway hyper-responsiveness: 1 and 7 of 21.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("counts", [(9, 3, 32), (0, 5, 30), (40, 22, 360), (1, 0, 10)])
def test_tango_interval_ends_where_the_score_of_the_likeliest_nuisance_is_the_quantile(
    counts: tuple[int, int, int],
) -> None:
    b, c, n = counts
    for end in tango_interval(*counts):

        def loss(share: float, end: float = end) -> float:
            rest = 1 - 2 * share - end
            terms = [(b, share + end), (c, share), (n - b - c, rest)]
            return -sum(k * math.log(max(p, 1e-300)) for k, p in terms if k)

        least, most = max(0.0, -end), (1 - end) / 2
        share = optimize.minimize_scalar(loss, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
        error = math.sqrt((2 * share + end - end**2) / n)
        assert abs((b - c) / n - end) / error == pytest.approx(stats.norm.ppf(0.975), abs=2e-3)


def test_tango_interval_of_equal_classifiers_has_a_width_and_is_symmetric() -> None:
    low, high = tango_interval(0, 0, 30)
    assert high == pytest.approx(stats.norm.ppf(0.975) ** 2 / (30 + stats.norm.ppf(0.975) ** 2), abs=1e-6)
    assert low == pytest.approx(-high)
    assert tango_interval(7, 2, 50) == pytest.approx([-end for end in reversed(tango_interval(2, 7, 50))])


@pytest.mark.parametrize("counts", [(-1, 2, 10), (6, 5, 10), (0, 0, 0)])
def test_tango_interval_refuses(counts: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="discordant items must not outnumber all items"):
        tango_interval(*counts)


@pytest.mark.parametrize(("only_first", "only_second"), [(6, 1), (5, 0), (30, 14), (0, 0)])
def test_paired_p_value_of_equal_weights_is_mcnemars(only_first: int, only_second: int) -> None:
    first, second = outcomes(20, only_first, only_second, 5)
    table = [[20, only_first], [only_second, 5]]
    exact = only_first + only_second < 25
    expected = statsmodels_mcnemar(table, exact=exact, correction=True).pvalue if only_first else 1.0
    assert paired_p_value(first - second, np.full(len(first), 0.1)) == pytest.approx(expected)


def test_paired_p_value_of_weights_counts_all_signs() -> None:
    gains, weights = np.array([1, 1, -1, 1, 0, 1]), np.array([3.0, 1.0, 1.0, 0.5, 9.0, 2.0])
    moved = weights[gains != 0]
    sums = [abs(float(np.dot(signs, moved))) for signs in product([1, -1], repeat=len(moved))]
    observed = abs(float(gains @ weights))
    assert paired_p_value(gains, weights) == pytest.approx(np.mean(np.array(sums) >= observed - 1e-12))


def test_paired_p_value_of_many_unequal_weights_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(0)
    gains, weights = rng.choice([-1, 1], size=60), rng.uniform(0.5, 1.5, size=60)
    z = abs(gains @ weights) / math.sqrt(weights @ weights)
    assert paired_p_value(gains, weights) == pytest.approx(2 * stats.norm.sf(z))


def test_difference_of_one_seed_is_tangos_interval_and_mcnemars_test() -> None:
    first, second = outcomes(200, 40, 22, 98)
    found = difference_over_seeds(first, second)
    assert found.difference == pytest.approx(0.05)
    assert found.interval == pytest.approx(tango_interval(40, 22, 360))
    assert found.over_items == pytest.approx(tango_interval(40, 22, 360))
    assert found.p_value == pytest.approx(statsmodels_mcnemar([[0, 40], [22, 0]], exact=False, correction=True).pvalue)
    assert (found.n_seeds, found.n_items) == (1, 360)
    assert math.isnan(found.over_seeds[0])


def test_difference_in_balanced_accuracy_has_the_p_value_of_that_gain() -> None:
    # Equal in accuracy, 2 items gained and 2 lost; in balanced accuracy (2/4 - 2/40) / 2.
    classes = np.repeat([0, 1], [4, 40])
    first, second = np.zeros(44), np.zeros(44)
    first[:2], second[4:6] = 1, 1
    found = difference_over_seeds(first, second, classes=classes)
    assert found.difference == pytest.approx(0.225)
    # Of the 16 signs 4 reach as far: both items of the small class the same way.
    assert found.p_value == pytest.approx(0.5)
    assert difference_over_seeds(first, second).p_value == 1.0


def test_difference_over_seeds_adds_both_parts_as_squares() -> None:
    # Every seed gains on the same 20 of 200 items, and each of the three on items of its own.
    rng = np.random.default_rng(0)
    first = np.zeros((3, 200))
    first[:, :20] = 1
    for seed, n in enumerate((4, 10, 16)):
        first[seed, rng.permutation(np.arange(20, 200))[:n]] = 1
    found = difference_over_seeds(first, np.zeros((3, 200)))
    means = first.mean(axis=1)
    assert found.over_seeds == pytest.approx(t_interval(means))
    assert found.seed_variance == pytest.approx(means.var(ddof=1))
    reach = [abs(end - found.difference) for end in found.interval]
    assert all(r > abs(end - found.difference) for r, end in zip(reach, found.over_seeds, strict=True))
    assert 0.001 < found.p_value < 0.1


@pytest.mark.parametrize("n_copies", [2, 3, 10])
def test_seeds_that_change_nothing_are_one_seed(n_copies: int) -> None:
    first, second = outcomes(30, 9, 2, 9)
    found = difference_over_seeds(np.tile(first, (n_copies, 1)), np.tile(second, (n_copies, 1)))
    assert found == difference_over_seeds(first, second)
    score = score_over_seeds(np.tile(first, (n_copies, 1)))
    assert (score.n_seeds, score.interval) == (1, pytest.approx(accuracy_interval(39, 50)))


def test_difference_of_equal_runs_is_none_and_has_a_width() -> None:
    right = np.ones((3, 50))
    found = difference_over_seeds(right, right)
    assert (found.difference, found.p_value, found.n_seeds) == (0.0, 1.0, 1)
    assert found.interval[0] < 0 < found.interval[1]


def test_overlapping_training_items_widen_the_part_of_the_seeds() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((4, 300)) < 0.9, rng.random((4, 300)) < 0.85
    plain, wider = (difference_over_seeds(first, second, held_out=held_out) for held_out in (0.0, 0.25))
    widths = [found.over_seeds[1] - found.over_seeds[0] for found in (plain, wider)]
    # Nadeau and Bengio (2003): 1/4 + 1/4 instead of 1/4.
    assert widths[1] / widths[0] == pytest.approx(math.sqrt(2))
    assert wider.over_items == plain.over_items
    assert wider.p_value > plain.p_value


def test_score_over_seeds_gives_both_parts() -> None:
    rng = np.random.default_rng(2)
    right = rng.random((5, 400)) < np.linspace(0.8, 0.9, 5)[:, None]
    score = score_over_seeds(right)
    assert score.over_seeds == pytest.approx(t_interval(right.mean(axis=1)))
    # These seeds are independent, so that their mean is of more items than there are.
    assert score.over_items[1] - score.over_items[0] < np.diff(accuracy_interval(340, 400))[0]
    assert score.interval[0] < score.over_seeds[0]
    assert score.interval[1] > score.over_seeds[1]


def test_score_over_seeds_of_no_errors_ends_at_one() -> None:
    score = score_over_seeds(np.ones((3, 30)), classes=np.arange(30) % 7)
    assert (score.mean, score.interval[1], score.n_seeds) == (1.0, 1.0, 1)
    assert score.interval[0] < 0.9


@pytest.mark.parametrize(
    ("first", "second", "classes", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), None, "same seeds and items"),
        (np.ones((0, 3)), np.ones((0, 3)), None, "same seeds and items"),
        (np.ones(3), np.ones(3), [0, 1], "one label per item"),
    ],
)
def test_difference_over_seeds_refuses(
    first: np.ndarray, second: np.ndarray, classes: list[int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        difference_over_seeds(first, second, classes=classes)
