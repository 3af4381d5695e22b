"""Class weights by hand and in their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.utils.class_weight import compute_class_weight

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.weights import effective_weights, inverse_weights, per_item_scale, sqrt_weights

WEIGHTINGS = [method for method in METHODS.values() if method.kind == "weighting"]
COUNTS = st.lists(st.integers(1, 5000), min_size=2, max_size=20)


def test_effective_weights_equal_the_published_formula() -> None:
    # Cui et al.'s own code: (1 - beta) / (1 - beta ** n), scaled to sum to the number of classes.
    counts = np.array([5000, 50, 5])
    raw = (1 - 0.99) / (1 - 0.99**counts)
    assert_allclose(effective_weights(counts, 0.99), raw / raw.sum() * 3, rtol=1e-12)


@given(COUNTS)
def test_effective_weights_become_inverse_as_beta_approaches_1(counts: list[int]) -> None:
    assert_allclose(effective_weights(counts, 1 - 1e-12), inverse_weights(counts), rtol=1e-6)


def test_effective_weights_of_beta_0_are_all_1() -> None:
    assert effective_weights([100, 1], 0).tolist() == [1, 1]


@given(COUNTS)
def test_weights_have_mean_1_and_fall_with_size(counts: list[int]) -> None:
    for weights in (rule.build(counts, **rule.own({})) for rule in WEIGHTINGS):
        assert weights.mean() == pytest.approx(1)
        assert (np.diff(weights[np.argsort(counts, kind="stable")]) <= 1e-12).all()


@given(st.integers(1, 1000), st.integers(2, 20))
def test_weights_of_balanced_classes_are_1(size: int, n_classes: int) -> None:
    for rule in WEIGHTINGS:
        assert_allclose(rule.build([size] * n_classes, **rule.own({})), 1)


def test_sqrt_weights_stand_between() -> None:
    assert_allclose(sqrt_weights([16, 1]), [0.4, 1.6])


def test_per_item_scale_of_inverse_weights_is_scikit_learns_balanced() -> None:
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert_allclose(per_item_scale(inverse_weights([70, 20, 10]), [70, 20, 10]), expected)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_effective_weights_refuse_beta(beta: float) -> None:
    with pytest.raises(InputError, match=rf"beta must be in \[0, 1\), got {beta:g}"):
        effective_weights([2, 1], beta)


@pytest.mark.parametrize(
    ("counts", "message"),
    [([5, 0], "at least 1 training image, got 0 of class 1"), ([5], "at least 2 classes"), ([[1, 2]], "shape")],
)
def test_weights_refuse_counts(counts: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inverse_weights(counts)
