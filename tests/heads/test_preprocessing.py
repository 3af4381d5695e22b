"""Preprocessing of features."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from resnet_mlflow.heads.preprocessing import PREPROCESSINGS, apply_preprocessing, fit_preprocessing

X = np.array([[1.0, 5.0, 0.0], [3.0, 5.0, 4.0]])


def preprocess(name: str, features: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return apply_preprocessing(name, features, *fit_preprocessing(name, features, weights))


def test_none_changes_nothing() -> None:
    assert preprocess("none", X) is X


def test_standardize_gives_mean_zero_and_variance_one_and_spares_constants() -> None:
    assert_allclose(preprocess("standardize", X), [[-1, 0, -1], [1, 0, 1]])


def test_standardize_follows_weights() -> None:
    weighted = preprocess("standardize", X, np.array([1.0, 3.0]))
    assert_allclose(weighted, preprocess("standardize", X[[0, 1, 1, 1]])[:2])


def test_l2_gives_unit_length() -> None:
    assert_allclose(np.linalg.norm(preprocess("l2", X), axis=1), 1)


def test_cl2n_centres_first() -> None:
    assert_allclose(preprocess("cl2n", X), np.array([[-1, 0, -2], [1, 0, 2]]) / np.sqrt(5))


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_apply_preprocessing_keeps_float32(name: str) -> None:
    assert preprocess(name, X.astype(np.float32)).dtype == np.float32
