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
    accuracy_interval,
    holm,
    mcnemar,
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


@pytest.mark.parametrize("n_items", [1, 3, 30, 49, 360, 9999])
def test_wilson_interval_ends_at_one_where_all_are_right_and_at_zero_where_none_is(n_items: int) -> None:
    assert wilson_interval(n_items, n_items)[1] == 1.0
    assert wilson_interval(0, n_items)[0] == 0.0


@pytest.mark.parametrize(("n_correct", "n_items"), [(0, 30), (30, 30), (85, 100), (96, 100), (9321, 10_000)])
def test_accuracy_interval_is_wilsons_but_for_one_to_three_errors(n_correct: int, n_items: int) -> None:
    assert accuracy_interval(n_correct, n_items) == pytest.approx(wilson_interval(n_correct, n_items), abs=1e-12)


@pytest.mark.parametrize("n_errors", [1, 2, 3])
def test_accuracy_interval_of_few_errors_ends_where_brown_cai_and_dasgupta_put_it(n_errors: int) -> None:
    # Section 4.1.1: the lower limit of x successes is chi2(alpha; 2 x) / (2 n), here of errors.
    low, high = accuracy_interval(100 - n_errors, 100)
    assert high == pytest.approx(1 - stats.chi2.ppf(0.05, 2 * n_errors) / 200)
    assert low == pytest.approx(wilson_interval(100 - n_errors, 100)[0])
    assert accuracy_interval(n_errors, 100) == pytest.approx((1 - high, 1 - low))


def test_class_counts_of_a_matrix_by_hand() -> None:
    counts = ClassCounts.of([[3, 1], [2, 4]])
    assert (counts.hits.tolist(), counts.support.tolist(), counts.predicted.tolist()) == ([3, 4], [4, 6], [5, 5])


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
    with pytest.raises(InputError, match=r"among the expected seeds \[0, 1\], got \[5\]"):
        summarize_seeds({0: 0.1, 5: 0.2}, expected=[0, 1])
