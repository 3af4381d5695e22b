"""The SVM head decides as scikit-learn's SVC does, whoever fitted it."""

import logging
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.svm import SVC

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import svm
from resnet_mlflow.heads.portable import accelerated, plain_svc
from resnet_mlflow.heads.svm import SVMHead

Array = NDArray[Any]
KERNELS: list[dict[str, Any]] = [
    {"kernel": "rbf"},
    {"kernel": "rbf", "gamma": 0.05},
    {"kernel": "linear"},
    {"kernel": "poly", "degree": 2, "coef0": 1.0, "gamma": "auto"},
    {"kernel": "sigmoid", "gamma": 0.01, "coef0": 0.5},
]


def clusters(n_classes: int, n_items: int = 400, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, size=n_items)
    centers = np.random.default_rng(99).normal(size=(n_classes, 16))
    return centers[labels] + rng.normal(size=(n_items, 16)), labels


@pytest.mark.parametrize("params", KERNELS)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_logits_equal_the_stored_svc(params: dict[str, Any], n_classes: int) -> None:
    X, y = clusters(n_classes)
    X_test, _ = clusters(n_classes, seed=1)
    head = SVMHead(**params).fit(X, y)
    assert_allclose(head.decision_function(X_test), head.svc_.decision_function(X_test), rtol=0, atol=1e-8)
    assert_array_equal(head.predict(X_test), head.svc_.predict(X_test))


@pytest.mark.parametrize("params", KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_fit_finds_the_support_vectors_of_scikit_learn(params: dict[str, Any], dtype: type, n_classes: int) -> None:
    X, y = clusters(n_classes)
    X_test, _ = clusters(n_classes, seed=1)
    X, X_test = X.astype(dtype), X_test.astype(dtype)
    head = SVMHead(**params, tol=1e-6).fit(X, y)
    peer = SVC(C=9, **params, tol=1e-6, break_ties=True).fit(X, y)
    assert head.svc_._gamma == pytest.approx(peer._gamma, rel=1e-5)
    assert len(np.setxor1d(head.svc_.support_, peer.support_)) <= 2
    # The sigmoid is no positive definite kernel: solvers may end in different places.
    n_different = (head.predict(X_test) != peer.predict(X_test)).sum()
    assert n_different <= (4 if params["kernel"] == "sigmoid" else 0)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_svc_is_plain_scikit_learn(n_classes: int) -> None:
    X, y = clusters(n_classes)
    svc = SVMHead().fit(X.astype(np.float32), y).svc_
    assert type(svc) is SVC
    assert svc.support_.dtype == svc._n_support.dtype == np.int32
    for name in ("support_vectors_", "dual_coef_", "intercept_", "_dual_coef_", "_intercept_"):
        assert getattr(svc, name).dtype == np.float64, name
    assert (svc.decision_function_shape, svc.break_ties) == ("ovr", True)
    assert_array_equal(y[svc.support_], np.repeat(np.arange(n_classes), svc.n_support_))
    assert_array_equal(svc.support_vectors_, X.astype(np.float32)[svc.support_])


@pytest.mark.parametrize("n_classes", [2, 5])
def test_plain_svc_has_every_attribute_of_a_fitted_one(n_classes: int) -> None:
    X, y = clusters(n_classes)
    peer = SVC(gamma=0.1).fit(X, y)
    svc = plain_svc(accelerated("svm", "SVC")(gamma=0.1).fit(X, y), X, y)
    assert set(vars(peer)) == set(vars(svc))
    for name, value in vars(peer).items():
        ours = getattr(svc, name)
        assert type(ours) is type(value), name
        assert getattr(ours, "dtype", None) == getattr(value, "dtype", None), name
        assert np.shape(ours) == np.shape(value), name


def test_accelerated_takes_the_accelerator_where_it_is_installed() -> None:
    expected = "sklearnex" if find_spec("sklearnex") else "sklearn"
    assert accelerated("svm", "SVC").__module__.startswith(f"{expected}.svm")


def test_accelerated_falls_back_to_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearnex.svm", None)
    assert accelerated("svm", "SVC") is SVC
    X, y = clusters(3)
    assert SVMHead().fit(X, y).score(X, y) > 0.9


def test_logits_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = clusters(10)
    head = SVMHead().fit(X, y)
    whole = head.logits(X)
    monkeypatch.setattr(svm, "BLOCK_VALUES", 5000)
    assert head._block_rows() < 20
    assert_allclose(head.logits(X), whole, rtol=0, atol=1e-10)


def test_sample_weight_zero_leaves_an_item_out() -> None:
    X, y = clusters(3)
    kept = np.arange(len(X)) % 2 == 0
    weighted = SVMHead().fit(X, y, sample_weight=kept.astype(float))
    assert_array_equal(weighted.logits(X), SVMHead().fit(X[kept], y[kept]).logits(X))


def test_squared_hinge_needs_the_linear_kernel() -> None:
    X, y = clusters(3)
    with pytest.raises(InputError, match="loss squared_hinge requires kernel linear, got rbf"):
        SVMHead(loss="squared_hinge").fit(X, y)


def test_squared_hinge_that_stops_early_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    X, y = clusters(3)
    X = X * np.logspace(-6, 6, X.shape[1])
    with caplog.at_level(logging.WARNING, logger="resnet_mlflow"):
        SVMHead(loss="squared_hinge", kernel="linear", C=1e6, tol=1e-300).fit(X, y)
    assert all("svm: the solver stopped" in record.message for record in caplog.records)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_leads_are_the_smallest_decisions_against_other_classes(n_classes):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 5)), np.arange(80) % n_classes
    X[:, 0] += y
    head = SVMHead(C=1.0).fit(X, y)
    logits, leads = head.logits_and_leads(X)
    np.testing.assert_array_equal(logits, head.logits(X))
    if n_classes == 2:
        np.testing.assert_allclose(leads, head.predict_proba(X))
        return
    # scikit-learn's decisions are for pairs (0, 1), (0, 2), ...; positive speaks for the first.
    peer = SVC(C=1.0, gamma=head.svc_._gamma, decision_function_shape="ovo").fit(X, y).decision_function(X)
    pairs = np.transpose(np.triu_indices(n_classes, 1))
    for label in range(n_classes):
        own = [peer[:, k] if pair[0] == label else -peer[:, k] for k, pair in enumerate(pairs) if label in pair]
        np.testing.assert_allclose(leads[:, label], np.min(own, axis=0), atol=2e-3)
