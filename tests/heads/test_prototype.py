"""Class means and distances of the prototype head."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from resnet_mlflow.heads.prototype import PrototypeHead

X = np.array([[0.0, 2.0], [0.0, 4.0], [6.0, 0.0]])
Y = np.array([0, 0, 1])


def test_logits_are_minus_squared_distances_to_class_means() -> None:
    head = PrototypeHead().fit(X, Y)
    assert_allclose(head.prototypes_, [[0, 3], [6, 0]])
    assert_allclose(head.logits([[0.0, 0.0]]), [[-9, -36]])


def test_cosine_logits_ignore_length() -> None:
    head = PrototypeHead(metric="cosine").fit(X, Y)
    assert_allclose(head.logits([[3.0, 4.0], [30.0, 40.0]]), [[0.8, 0.6], [0.8, 0.6]])


def test_cl2n_centres_by_the_training_mean_first() -> None:
    head = PrototypeHead(preprocessing="cl2n").fit(X, Y)
    assert_allclose(head.offset_, [2, 2])
    # Centred: (-2, 0), (-2, 2), (4, -2); to unit length; mean of the first two.
    half = np.sqrt(0.5)
    assert_allclose(head.prototypes_, [[-(1 + half) / 2, half / 2], [4 / np.sqrt(20), -2 / np.sqrt(20)]])


def test_sample_weight_moves_the_mean() -> None:
    head = PrototypeHead().fit(X, Y, sample_weight=[3.0, 1.0, 1.0])
    assert_allclose(head.prototypes_[0], [0, 2.5])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_features_of_zeros_give_finite_logits(metric: str) -> None:
    head = PrototypeHead(metric=metric, preprocessing="l2").fit(np.zeros((4, 3)), [0, 1, 0, 1])
    assert head.logits(np.zeros((2, 3))).tolist() == [[0, 0], [0, 0]]
