"""Tests over seeds and datasets, against scipy and the examples of the papers that define them."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    average_ranks,
    cliques,
    friedman,
    holm,
    nadeau_bengio_test,
    nemenyi_critical_difference,
    wilcoxon_p_value,
)

# Demsar (2006), table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_average_ranks_are_those_of_demsar_2006():
    assert average_ranks(DEMSAR).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)


def test_friedman_is_scipys_with_ties():
    chi2, p_value = stats.friedmanchisquare(*DEMSAR.T)
    found = friedman(DEMSAR)
    assert (found.chi2, found.chi2_p_value) == pytest.approx((chi2, p_value))


def test_friedman_follows_the_formulas_of_demsar_2006():
    # Demsar's equations without ties, on ranks that are his average ranks: chi2 9.28 and F 3.69.
    ranks, n, k = np.array([3.143, 2.000, 2.893, 1.964]), 14, 4
    chi2 = 12 * n / (k * (k + 1)) * ((ranks**2).sum() - k * (k + 1) ** 2 / 4)
    assert chi2 == pytest.approx(9.28, abs=0.01)
    assert (n - 1) * chi2 / (n * (k - 1) - chi2) == pytest.approx(3.69, abs=0.01)
    untied = np.random.default_rng(0).normal(size=(9, 4))
    own = average_ranks(untied).mean(axis=0)
    textbook = 12 * 9 / (k * (k + 1)) * ((own**2).sum() - k * (k + 1) ** 2 / 4)
    found = friedman(untied)
    assert found.chi2 == pytest.approx(textbook)
    assert found.f_statistic == pytest.approx(8 * textbook / (9 * 3 - textbook))


def test_friedman_refuses_a_missing_score():
    with pytest.raises(InputError, match="none missing"):
        friedman([[1.0, math.nan], [1.0, 2.0]])


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_nemenyi_critical_difference_has_the_quantiles_of_demsar_2006(k, q):
    # Table 5(a) of the paper: critical values for the two-tailed Nemenyi test at 0.05.
    assert nemenyi_critical_difference(k, 10) == pytest.approx(q * math.sqrt(k * (k + 1) / 60), abs=1e-3)


@pytest.mark.parametrize("n", [6, 9, 20])
def test_wilcoxon_p_value_is_scipys_exact_one(n):
    first, second = np.random.default_rng(n).normal(size=(2, n))
    assert wilcoxon_p_value(first, second) == pytest.approx(stats.wilcoxon(first, second, method="exact").pvalue)


def test_wilcoxon_p_value_counts_all_signs_where_differences_tie():
    gains = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 3.0, -1.0])
    ranks = stats.rankdata(np.abs(gains))
    observed = min(ranks[gains > 0].sum(), ranks[gains < 0].sum())
    sums = [ranks[list(chosen)].sum() for n in range(8) for chosen in combinations(range(7), n)]
    assert wilcoxon_p_value(gains, np.zeros(7)) == pytest.approx(2 * np.mean(np.array(sums) <= observed))


def test_wilcoxon_p_value_is_undefined_below_six_pairs():
    assert math.isnan(wilcoxon_p_value([5, 4, 3, 2, 1], [0, 0, 0, 0, 0]))
    assert wilcoxon_p_value([6, 5, 4, 3, 2, 1], [0] * 6) == pytest.approx(2 / 2**6)


def test_cliques_join_methods_that_are_not_told_apart():
    # Of the best two to the worst it is more than 1.1 ranks, between all others less.
    ranks = [3.143, 2.000, 2.893, 1.964]
    apart = np.abs(np.subtract.outer(ranks, ranks)) > 1.1
    assert cliques(ranks, apart) == [(3, 1, 2), (2, 0)]
    assert cliques([1.0, 2.0], [[False, True], [True, False]]) == []


def test_holm_is_statsmodels_and_the_example_of_demsar_2006():
    p_values = [0.016, 0.019, 0.607]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    # Section 3.2.2: 0.016 is below 0.05/3 and 0.019 below 0.05/2, so both are rejected, and 0.607 is not.
    assert [p < 0.05 for p in holm(p_values)] == [True, True, False]


def test_nadeau_bengio_test_widens_the_plain_t_test_by_the_overlap():
    # Nadeau and Bengio (2003): the variance of the mean grows from 1/n to 1/n + n_test/n_train.
    gains = np.array([0.021, 0.013, 0.034, 0.006, 0.019])
    plain = stats.ttest_1samp(gains, 0.0)
    t, p_value = nadeau_bengio_test(gains, n_train=400, n_test=100)
    assert t == pytest.approx(plain.statistic * math.sqrt((1 / 5) / (1 / 5 + 1 / 4)))
    assert p_value == pytest.approx(2 * stats.t.sf(t, 4))
    # Seeds that change nothing are one seed, which says nothing about others.
    assert nadeau_bengio_test([0.0, 0.0], 4, 1) == nadeau_bengio_test([0.01] * 3, 4, 1) == (0.0, 1.0)
    with pytest.raises(InputError, match="at least 2"):
        nadeau_bengio_test([0.1], 4, 1)
