"""The test of slices having one score: its level with few items, what it finds, and what it refuses."""

import numpy as np
import pytest
from scipy import stats

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import slices_p_value


def test_slices_p_value_of_two_is_near_the_exact_test():
    right = np.array([1] * 18 + [0] * 2 + [1] * 9 + [0] * 11)
    slices = np.repeat(["north", "south"], 20)
    exact = stats.fisher_exact([[18, 2], [9, 11]]).pvalue
    assert slices_p_value(right, slices) == pytest.approx(exact, abs=0.003)


def test_slices_p_value_of_means_over_seeds():
    rng = np.random.default_rng(0)
    slices = np.repeat(["a", "b", "c"], 40)
    same = (rng.random((3, 120)) < 0.8).mean(axis=0)
    other = (rng.random((3, 120)) < np.repeat([0.9, 0.9, 0.5], 40)).mean(axis=0)
    assert slices_p_value(same, slices) > 0.05
    assert slices_p_value(other, slices) == 1 / 2000


@pytest.mark.parametrize(("right", "slices"), [([], []), ([1, 0], ["a"])])
def test_slices_p_value_refuses_what_does_not_fit(right, slices):
    with pytest.raises(InputError, match="the same length, at least 1"):
        slices_p_value(right, slices)


def test_slices_without_a_difference_are_never_told_apart():
    assert slices_p_value([1, 1, 1, 1], ["a", "a", "b", "b"]) == 1.0
    assert slices_p_value([1, 0, 1, 0], ["a", "a", "a", "a"]) == 1.0
