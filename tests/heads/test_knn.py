"""Neighbours, votes and ties of the k-nearest-neighbour head."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KNeighborsClassifier

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import knn
from resnet_mlflow.heads.knn import KNNHead


def clusters(n_items: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, size=n_items)
    return (np.random.default_rng(9).normal(size=(7, 20))[labels] + rng.normal(size=(n_items, 20))), labels


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_predict_equals_scikit_learn(metric: str, k: int) -> None:
    X, y = clusters(500, seed=0)
    X_test, _ = clusters(200, seed=1)
    peer = KNeighborsClassifier(k, metric=metric).fit(X, y)
    head = KNNHead(k=k, metric=metric).fit(X, y)
    assert_allclose(head.predict_proba(X_test), peer.predict_proba(X_test), atol=1e-5)
    assert_array_equal(head.predict(X_test), peer.predict(X_test))


def test_softmax_vote_follows_the_formula() -> None:
    # Cosines of 1, 0.6 and 0 with the query, T = 0.5: weights e^2, e^1.2, e^0.
    head = KNNHead(k=3, metric="cosine", weights="softmax", T=0.5).fit([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]], [0, 1, 1])
    weights = np.exp([2.0, 1.2, 0.0])
    expected = [weights[0] / weights.sum(), weights[1:].sum() / weights.sum()]
    assert_allclose(head.predict_proba([[5.0, 0.0]]), [expected], rtol=1e-12)


def test_softmax_vote_survives_small_temperatures() -> None:
    X, y = clusters(100, seed=0)
    logits = KNNHead(k=10, weights="softmax", T=1e-6).fit(X, y).logits(X)
    assert np.isfinite(logits).all()
    assert_array_equal(logits.argmax(axis=1), y)


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_logits_for_ks_equal_those_of_each_k(weights: str, metric: str) -> None:
    X, y = clusters(300, seed=0)
    X_test, _ = clusters(50, seed=1)
    head = KNNHead(metric=metric, weights=weights, preprocessing="standardize").fit(X, y)
    by_k = head.logits_for_ks(X_test, [1, 5, 20, 1000])
    assert list(by_k) == [1, 5, 20, 1000]
    for k, logits in by_k.items():
        assert_allclose(head.set_params(k=k).logits(X_test), logits, rtol=1e-12)


def test_k_is_clamped_to_the_training_items() -> None:
    head = KNNHead(k=50).fit([[0.0], [1.0], [2.0]], [0, 0, 1])
    assert_allclose(head.predict_proba([[9.0]]), [[2 / 3, 1 / 3]])


@pytest.mark.parametrize("ks", [[], [0, 3], [-1]])
def test_logits_for_ks_refuses_what_is_no_number_of_neighbours(ks: list[int]) -> None:
    head = KNNHead().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(InputError, match="ks must be numbers of at least 1"):
        head.logits_for_ks([[0.0]], ks)


def test_equal_votes_go_to_the_first_class() -> None:
    head = KNNHead(k=2).fit([[1.0], [-1.0]], ["b", "a"])
    assert head.predict([[0.9], [-0.9]]).tolist() == ["a", "a"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_distances_go_by_the_order_of_training_items(dtype: type) -> None:
    # Forty copies of one item, the first of class 1: rounding in the search must not decide.
    X: Any = np.full((40, 9), 0.1, dtype=dtype)
    head = KNNHead(k=1).fit(X, np.array([1] + [0] * 39))
    rows, distances = head._nearest(X[:5] + dtype(0.3), 3)
    assert_array_equal(np.ptp(distances, axis=1), 0)
    assert (np.diff(rows, axis=1) > 0).all()


def test_logits_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = clusters(300, seed=0)
    head = KNNHead(k=10, weights="softmax").fit(X.astype(np.float32), y)
    whole = head.logits(X)
    monkeypatch.setattr(knn, "SEARCH_ROWS", 17)
    monkeypatch.setattr(knn, "BLOCK_VALUES", 999)
    assert_array_equal(head.logits(X), whole)


def test_fit_keeps_its_own_copy_of_the_features() -> None:
    X, y = clusters(50, seed=0)
    head = KNNHead(k=1).fit(X, y)
    X[:] = 0
    assert np.abs(head.features_).max() > 0


@pytest.mark.parametrize("n_train", [40, 257, 1000])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.49, 0.51, 0.9, 1.0])
def test_every_k_finds_the_nearest(n_train: int, share: float) -> None:
    X, y = clusters(n_train, seed=0)
    X_test, _ = clusters(30, seed=1)
    k = max(1, int(share * n_train))
    rows, distances = KNNHead().fit(X, y)._nearest(X_test, k)
    exact = np.sort(((X_test[:, np.newaxis] - X) ** 2).sum(axis=2), axis=1)[:, :k]
    assert rows.shape == (30, k)
    assert_allclose(distances, exact, rtol=1e-10)
