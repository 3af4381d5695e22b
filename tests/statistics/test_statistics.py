"""Intervals and tests against SciPy, published worked examples and numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    ClassCounts,
    bootstrap_interval,
    holm,
    mcnemar,
    paired_bootstrap_difference,
    percentile_interval,
    resample_counts,
    summarize_seeds,
    t_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("n_correct", "n_items"), [(0, 10), (10, 10), (1, 1), (81, 263), (9321, 10_000)])
def test_wilson_interval_equals_scipy(n_correct: int, n_items: int) -> None:
    expected = stats.binomtest(n_correct, n_items).proportion_ci(0.9, method="wilson")
    assert wilson_interval(n_correct, n_items, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("n_correct", "n_items", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_gives_newcombes_published_table(n_correct: int, n_items: int, low: float, high: float) -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    assert wilson_interval(n_correct, n_items) == pytest.approx((low, high), abs=5e-5)


@given(n_items=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_holds_the_proportion_inside_the_unit_interval(n_items: int, share: float) -> None:
    n_correct = round(share * n_items)
    low, high = wilson_interval(n_correct, n_items)
    assert 0 <= low <= n_correct / n_items + 1e-12
    assert n_correct / n_items - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("n_correct", "n_items", "confidence", "message"),
    [(3, 2, 0.95, "3 of 2"), (-1, 2, 0.95, "-1 of 2"), (0, 0, 0.95, "0 of 0"), (1, 2, 95, "confidence must be in")],
)
def test_wilson_interval_refuses(n_correct: int, n_items: int, confidence: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wilson_interval(n_correct, n_items, confidence)


def test_class_counts_of_a_matrix_by_hand() -> None:
    counts = ClassCounts.of([[3, 1], [2, 4]])
    assert (counts.hits.tolist(), counts.support.tolist(), counts.predicted.tolist()) == ([3, 4], [4, 6], [5, 5])


@pytest.mark.parametrize("confusion", [[[1, 2]], [1, 2], [[1, -1], [0, 0]]])
def test_resample_counts_refuses_what_is_no_confusion_matrix(confusion: list[object]) -> None:
    with pytest.raises(InputError, match="square matrix of counts"):
        resample_counts(np.array(confusion))


def _draw_items(confusion: np.ndarray, n_resamples: int, seed: int) -> ClassCounts:
    """The plain way: draw the items of each class with replacement and count them."""
    n_classes = len(confusion)
    rng = np.random.default_rng(seed)
    hits, predicted = np.zeros((2, n_resamples, n_classes), dtype=np.int64)
    for label in range(n_classes):
        predictions = np.repeat(np.arange(n_classes), confusion[label])
        drawn = rng.choice(predictions, size=(n_resamples, len(predictions)))
        hits[:, label] = (drawn == label).sum(axis=1)
        predicted += np.stack([(drawn == column).sum(axis=1) for column in range(n_classes)], axis=1)
    return ClassCounts(hits, confusion.sum(axis=1), predicted)


def test_resample_counts_is_distributed_as_resampled_items_are() -> None:
    confusion = np.array([[30, 6, 4], [3, 12, 0], [5, 5, 10]])
    fast, plain = resample_counts(confusion, 20_000, seed=0), _draw_items(confusion, 20_000, seed=1)
    for ours, theirs in ((fast.hits, plain.hits), (fast.predicted, plain.predicted)):
        # Standard errors at 20 000 draws: 0.02 of a mean, 1 % of a variance.
        np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.12)
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.45)
    together = [np.concatenate([counts.hits, counts.predicted], axis=1) for counts in (fast, plain)]
    np.testing.assert_allclose(np.cov(together[0].T), np.cov(together[1].T), atol=0.45)


def test_resample_counts_has_the_binomial_variance() -> None:
    # 10 items, 8 of them right: variance 10 * 0.8 * 0.2 = 1.6.
    hits = resample_counts([[8, 2], [0, 10]], 50_000, seed=3).hits
    assert hits[:, 0].var() == pytest.approx(1.6, rel=0.03)
    assert (hits[:, 1] == 10).all()


def test_resample_counts_keeps_absent_classes_empty_and_every_item() -> None:
    counts = resample_counts([[5, 0, 2], [0, 0, 0], [1, 1, 1]], 200)
    assert (counts.predicted.sum(axis=1) == 10).all()
    assert (counts.hits[:, 1] == 0).all()
    assert counts.support.tolist() == [7, 0, 3]


def test_resample_counts_depends_on_the_seed_alone() -> None:
    confusion = [[5, 5], [5, 5]]
    first, again, other = (resample_counts(confusion, 50, seed).hits for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_percentile_interval_of_a_ramp() -> None:
    assert percentile_interval(np.arange(101), 0.9) == pytest.approx((5.0, 95.0))


def test_bootstrap_interval_of_accuracy_is_near_the_normal_one() -> None:
    # 80 % of 400 in each of two classes: standard error sqrt(0.16 / 800) = 0.01414.
    interval = bootstrap_interval(
        [[320, 80], [80, 320]], lambda counts: counts.hits.sum(-1) / counts.support.sum(), n_resamples=20_000
    )
    assert interval == pytest.approx((0.8 - 1.96 * 0.01414, 0.8 + 1.96 * 0.01414), abs=0.002)


def test_paired_bootstrap_difference_equals_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(300) < 0.8, rng.random(300) < 0.7
    ours = paired_bootstrap_difference(first, second, n_resamples=20_000)
    gains = first.astype(float) - second
    theirs = stats.bootstrap((gains,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours.difference == pytest.approx(gains.mean())
    assert ours.interval == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert ours.n_items == 300


def test_paired_bootstrap_difference_of_equal_classifiers_is_exactly_zero() -> None:
    result = paired_bootstrap_difference([1, 0, 1], [1, 0, 1])
    assert (result.difference, result.interval) == (0.0, (0.0, 0.0))


def test_paired_bootstrap_difference_is_narrower_than_unpaired() -> None:
    # Both fail on the same hard half; only 10 of 400 items tell them apart.
    second = np.repeat([1, 0], 200)
    first = second.copy()
    first[390:] = 1
    low, high = paired_bootstrap_difference(first, second).interval
    assert low > 0
    assert high - low < 0.04  # two independent accuracies of 50 % would give 0.14


def test_paired_bootstrap_difference_by_class_weighs_classes_the_same() -> None:
    # Gain 0.1 on the 90 items of one class and 1.0 on the 10 of the other: accuracy 0.19, balanced 0.55.
    classes = np.repeat([0, 1], [90, 10])
    first = np.r_[np.repeat([1, 0], [9, 81]), np.ones(10)]
    second = np.zeros(100)
    assert paired_bootstrap_difference(first, second).difference == pytest.approx(0.19)
    balanced = paired_bootstrap_difference(first, second, classes=classes, n_resamples=20_000)
    assert balanced.difference == pytest.approx(0.55)
    # The second class never varies: half the error of the first, sqrt(0.09 / 90) / 2 = 0.0158.
    assert balanced.interval == pytest.approx((0.55 - 0.031, 0.55 + 0.031), abs=0.006)


@pytest.mark.parametrize(
    ("first", "second", "classes", "message"),
    [([1, 0], [1], None, "same items"), ([], [], None, "same items"), ([1, 0], [1, 1], [0], "one label per item")],
)
def test_paired_bootstrap_difference_refuses(
    first: list[int], second: list[int], classes: list[int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        paired_bootstrap_difference(first, second, classes=classes)


def _outcomes(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_gives_the_published_chi_square() -> None:
    # Agresti (2002), Categorical Data Analysis, table 10.1: discordant 150 and 86, z^2 = 17.36 without correction,
    # hence (64 - 1)^2 / 236 = 16.818 with it.
    result = mcnemar(*_outcomes(794, 150, 86, 570))
    assert result.method == "chi2"
    assert result.statistic == pytest.approx(16.818, abs=5e-4)
    assert result.p_value == pytest.approx(stats.chi2.sf(result.statistic, 1))
    assert (result.n_only_first, result.n_only_second) == (150, 86)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 1), (6, 1), (12, 12), (20, 4), (0, 0)])
def test_mcnemar_is_the_exact_binomial_test_below_25(only_first: int, only_second: int) -> None:
    result = mcnemar(*_outcomes(50, only_first, only_second, 7))
    discordant = only_first + only_second
    expected = stats.binomtest(only_first, discordant).pvalue if discordant else 1.0
    assert result.method == "exact"
    assert result.p_value == pytest.approx(expected)


def test_mcnemar_changes_method_at_25_discordant_pairs() -> None:
    assert mcnemar(*_outcomes(0, 12, 12, 0)).method == "exact"
    at_25 = mcnemar(*_outcomes(0, 15, 10, 0))
    assert at_25.method == "chi2"
    assert at_25.statistic == pytest.approx((5 - 1) ** 2 / 25)


def test_mcnemar_with_even_discordant_pairs_has_p_one() -> None:
    assert mcnemar(*_outcomes(0, 20, 20, 0)).p_value == 1.0


def test_mcnemar_is_symmetric() -> None:
    first, second = _outcomes(5, 30, 12, 9)
    assert mcnemar(first, second).p_value == mcnemar(second, first).p_value


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_caps_at_one_and_leaves_nan_out() -> None:
    adjusted = holm([0.6, math.nan, 0.7])
    assert adjusted[0] == adjusted[2] == 1.0
    assert math.isnan(adjusted[1])
    assert holm([0.04, math.nan])[0] == pytest.approx(0.04)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_p_values_and_bonferroni(p_values: list[float]) -> None:
    adjusted = np.array(holm(p_values))
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1) + 1e-12).all()


def test_t_interval_equals_scipy() -> None:
    values = [0.91, 0.93, 0.9, 0.95, 0.92]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert t_interval(values, 0.9) == pytest.approx((expected.low, expected.high))


def test_t_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, t(0.975; 2) = 4.3027: 2 +- 4.3027 / sqrt(3).
    assert t_interval([1, 2, 3]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_t_interval_below_two_values_is_nan(values: list[float]) -> None:
    assert all(math.isnan(bound) for bound in t_interval(values))


def test_summarize_seeds_names_the_missing() -> None:
    summary = summarize_seeds({0: 1.0, 3: 3.0, 1: math.nan, 2: 2.0}, expected=range(5))
    assert (summary.mean, summary.std, summary.n, summary.missing) == (2.0, 1.0, 3, (1, 4))
    assert summary.interval == t_interval([1.0, 2.0, 3.0])


def test_summarize_seeds_of_one_has_no_spread_and_of_none_no_mean() -> None:
    one = summarize_seeds({7: 0.5}, expected=[7])
    assert (one.mean, one.n, one.missing) == (0.5, 1, ())
    assert math.isnan(one.std)
    none = summarize_seeds({}, expected=[7])
    assert math.isnan(none.mean)
    assert (none.n, none.missing) == (0, (7,))


def test_summarize_seeds_refuses_seeds_that_nobody_expected() -> None:
    with pytest.raises(InputError, match=r"among the expected ones \[0, 1\], got \[5\]"):
        summarize_seeds({0: 0.1, 5: 0.2}, expected=[0, 1])
