"""Solvers of the linear head, and the head of a trained layer."""

import logging
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.linear import LinearHead, from_linear


def clusters(n_classes: int, n_items: int = 300, seed: int = 0, noise: float = 0.7) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n_items) % n_classes
    centers = np.random.default_rng(99).normal(size=(n_classes, 8))
    return centers[labels] + noise * rng.normal(size=(n_items, 8)), labels


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_lbfgs_equals_logistic_regression(n_classes: int, weighted: bool) -> None:
    X, y = clusters(n_classes)
    weights = np.arange(1, len(y) + 1) % 7 + 0.5 if weighted else None
    # Far below the default, because the two approach the optimum on different ways.
    head = LinearHead(C=0.3, tol=1e-9, preprocessing="none").fit(X, y, sample_weight=weights)
    peer = LogisticRegression(C=0.3, tol=1e-9, max_iter=1000).fit(X, y, sample_weight=weights)
    assert head.coef_.shape == (n_classes, 8)
    assert_allclose(head.predict_proba(X), peer.predict_proba(X), atol=1e-5)
    assert_allclose(head.decision_function(X), peer.decision_function(X), rtol=1e-4, atol=1e-5)


def test_lbfgs_needs_few_iterations_where_features_correlate() -> None:
    rng = np.random.default_rng(0)
    X, y = clusters(3)
    # Deviations of the eight axes from 1 to 1000, turned so that every feature has a share of each; far from 0.
    turned = X * np.geomspace(1, 1000, 8) @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 5000
    head = LinearHead(preprocessing="none").fit(turned, y)
    assert head.n_iter_ <= 60
    # The map can be undone: the optimum is that of the axes as they were, but for the penalty, which is weak in both.
    assert np.mean(head.predict(turned) == LinearHead(preprocessing="none", C=100).fit(X, y).predict(X)) > 0.98


def test_lbfgs_reaches_a_tolerance_that_losses_do_not_resolve() -> None:
    # Losses near the optimum differ by less than their rounding from a gradient of about 1e-8 on.
    X, y = clusters(4, n_items=40)
    head = LinearHead(tol=1e-12, preprocessing="none").fit(X, y)
    gradient = (head.predict_proba(X) - np.eye(4)[y]).T @ X + head.coef_
    assert np.abs(gradient).max() < 1e-11


def test_lbfgs_takes_constant_and_equal_features() -> None:
    X, y = clusters(3)
    head = LinearHead(C=1e5).fit(np.column_stack([X, X[:, 0], np.ones(len(X))]), y)
    assert head.score(np.column_stack([X, X[:, 0], np.ones(len(X))]), y) > 0.8


def test_lbfgs_that_stops_early_is_logged_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    X, y = clusters(3)
    with caplog.at_level(logging.WARNING, logger="resnet_mlflow"):
        head = LinearHead(max_iter=2).fit(X, y)
    assert "linear: the search stopped at max_iter=2" in caplog.text
    assert head.n_iter_ == 2


def test_lbfgs_leaves_the_threads_of_all_libraries_as_they_were() -> None:
    X, y = clusters(3)
    LinearHead().fit(X, y)  # loads whatever it needs
    before = threadpool_info()
    LinearHead().fit(X, y)
    assert threadpool_info() == before


def test_sgd_comes_near_the_unpenalised_optimum() -> None:
    X, y = clusters(3, n_items=600, noise=2.0)
    sgd = LinearHead(solver="sgd", epochs=300).fit(X, y)
    lbfgs = LinearHead(C=1e6).fit(X, y)
    assert sgd.n_iter_ == 300
    assert_allclose(sgd.predict_proba(X), lbfgs.predict_proba(X), atol=0.02)


def test_sgd_stops_early_with_patience() -> None:
    X, y = clusters(3)
    head = LinearHead(solver="sgd", patience=4).fit(X, y, *clusters(3, seed=1))
    assert head.n_iter_ < 100


def test_from_linear_gives_the_layers_logits() -> None:
    import torch

    layer = torch.nn.Linear(8, 5)
    X = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    head = from_linear(layer.weight.detach().numpy(), layer.bias.detach().numpy(), range(5))
    with torch.inference_mode():
        assert_allclose(head.logits(X.numpy()), layer(X).numpy(), rtol=1e-5, atol=1e-6)
        assert_array_equal(head.to_torch()(X).numpy(), layer(X).numpy())
    assert head.calibrate(X.numpy(), np.arange(20) % 5).predict_proba(X.numpy()).shape == (20, 5)


@pytest.mark.parametrize(
    ("weight", "bias", "classes", "message"),
    [
        (np.zeros((3, 4)), np.zeros(2), [0, 1, 2], r"got \(3, 4\), \(2,\), \(3,\)"),
        (np.zeros(4), np.zeros(1), [0], "must have shapes"),
        (np.zeros((2, 4)), np.zeros(2), ["b", "a"], r"classes must be sorted and different, got \['b', 'a'\]"),
    ],
)
def test_from_linear_refuses_what_does_not_fit(weight: Any, bias: Any, classes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_linear(weight, bias, classes)


def test_lbfgs_in_blocks_finds_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = clusters(5)
    weights = np.linspace(0.5, 2, len(y))
    whole = LinearHead(tol=1e-9).fit(X, y, sample_weight=weights)
    monkeypatch.setattr("resnet_mlflow.heads.logistic._LOGITS_OF_ALL", 1)
    monkeypatch.setattr("resnet_mlflow.heads.logistic._LOGITS", 5 * 7)
    in_blocks = LinearHead(tol=1e-9).fit(X, y, sample_weight=weights)
    assert_allclose(in_blocks.coef_, whole.coef_, rtol=0, atol=1e-7)
    assert_allclose(in_blocks.intercept_, whole.intercept_, rtol=0, atol=1e-7)


def test_lbfgs_takes_no_memory_for_items_times_classes() -> None:
    n_items, n_features, n_classes = 12_000, 32, 400
    rng = np.random.default_rng(0)
    y = np.arange(n_items) % n_classes
    X = (rng.normal(size=(n_classes, n_features))[y] + rng.normal(size=(n_items, n_features))).astype(np.float32)
    tracemalloc.start()
    LinearHead(max_iter=5).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_items * n_classes * 8
