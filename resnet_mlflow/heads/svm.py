"""Support vector machines on features, fitted by the accelerator and stored as plain scikit-learn."""

import logging
import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import Array, HeadBase, Validation, WeightedHead
from resnet_mlflow.heads.blocks import thread_per_block
from resnet_mlflow.heads.portable import accelerated, plain_svc

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

BLOCK_VALUES = 2**22  # kernel and pairwise decision values that a thread holds at once: 32 MiB


class SVMHead(WeightedHead):
    """A support vector machine: one-vs-one with kernels, or one-vs-rest with the squared hinge loss.

    With ``loss="hinge"`` the logits are scikit-learn's one-vs-rest decision values: pairwise votes, ties broken
    by summed confidence, so that the highest is the prediction. Two classes get minus and plus half the margin.

    Args:
        C: Inverse strength of the regularisation, above 0.
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        gamma: Kernel coefficient: ``scale`` is 1 / (n_features * variance of the features), ``auto`` 1 / n_features.
        degree: Degree of the ``poly`` kernel, at least 1.
        coef0: Constant of the ``poly`` and ``sigmoid`` kernels.
        loss: ``hinge``, or ``squared_hinge`` with the linear kernel, as VISSL evaluates features.
        tol: Tolerance of the solver, above 0.
        class_weight: ``None``, ``balanced``, or a weight per label.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``.

    References:
        Chang and Lin (2011), LIBSVM. Goyal et al. (2019), Scaling and Benchmarking Self-Supervised Visual
        Representation Learning, section 5: linear SVMs on frozen features.

    Example:
        >>> head = SVMHead(kernel="linear").fit([[0.0], [1.0], [2.0]], ["a", "b", "c"])
        >>> head.predict([[0.1], [1.9]]).tolist()
        ['a', 'c']
    """

    SEARCH_SPACES: ClassVar[str] = """
svm:
  preprocessing: [none, standardize, l2, cl2n]
  kernel: [rbf, linear]
  C: {low: 0.001, high: 1000, log: true, grid: 7}
  gamma: {choices: [scale, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0], when: {kernel: [rbf]}}
# VISSL (Goyal et al., 2019): squared hinge on features of unit length, costs 10^-7 to 10^2 and powers of 2.
svm-vissl:
  preprocessing: [l2]
  kernel: [linear]
  loss: [squared_hinge]
  C: {low: 0.0000001, high: 100, log: true, grid: 10}
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "C": [Interval(Real, 0, None, closed="neither")],
        "kernel": [StrOptions({"linear", "poly", "rbf", "sigmoid"})],
        "gamma": [StrOptions({"scale", "auto"}), Interval(Real, 0, None, closed="neither")],
        "degree": [Interval(Integral, 1, None, closed="left")],
        "coef0": [Interval(Real, None, None, closed="neither")],
        "loss": [StrOptions({"hinge", "squared_hinge"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }
    svc_: Any  # sklearn.svm.SVC, or LinearSVC with the squared hinge loss

    def __init__(
        self,
        *,
        C: float = 9.0,
        kernel: str = "rbf",
        gamma: str | float = "scale",
        degree: int = 3,
        coef0: float = 0.0,
        loss: str = "hinge",
        tol: float = 1e-3,
        class_weight: str | dict[Any, float] | None = None,
        preprocessing: str = "none",
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.loss = loss
        self.tol = tol
        self.class_weight = class_weight
        self.preprocessing = preprocessing

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        if self.loss == "squared_hinge":
            self.svc_ = self._fit_squared_hinge(X, labels, weights)
            return
        svc = accelerated("svm", "SVC")(
            C=float(self.C),
            kernel=self.kernel,
            gamma=self._gamma(X, weights),
            degree=self.degree,
            coef0=self.coef0,
            tol=self.tol,
            decision_function_shape="ovr",
            break_ties=True,
        )
        # The accelerator works in the features' precision: float32 takes half the time, and moves decision
        # values by less than the solver's tolerance does.
        self.svc_ = plain_svc(svc.fit(X, labels, sample_weight=weights), X, labels)

    def _fit_squared_hinge(self, X: Array, labels: Array, weights: Array | None) -> Any:
        if self.kernel != "linear":
            raise InputError(f"loss squared_hinge requires kernel linear, got {self.kernel}; pass kernel: linear")
        from sklearn.svm import LinearSVC

        # The primal solver is deterministic, the dual one draws random numbers.
        svc = LinearSVC(C=self.C, tol=self.tol, dual=False, max_iter=10_000)
        with warnings.catch_warnings(record=True, action="always", category=ConvergenceWarning) as caught:
            svc.fit(X, labels, sample_weight=weights)
        if caught:
            logger.warning("svm: the solver stopped before tol=%g was reached; lower C or standardize", self.tol)
        return svc

    def _gamma(self, X: Array, weights: Array | None) -> float:
        if not isinstance(self.gamma, str):
            return float(self.gamma)
        n_features: int = X.shape[1]
        variance = 1.0 if self.gamma == "auto" else _variance(X, weights)
        return 1.0 / (n_features * variance) if variance > 0 else 1.0

    def _block_rows(self) -> int:
        if self.loss == "squared_hinge":
            return super()._block_rows()
        n_values = len(self.svc_.support_) + len(self.classes_) ** 2
        return max(1, min(super()._block_rows(), BLOCK_VALUES // n_values))

    def _logits(self, X: Array) -> Array:
        X = X.astype(np.float64)
        if self.loss == "squared_hinge":
            decisions = self.svc_.decision_function(X)
        elif len(self.classes_) == 2:
            decisions = self._kernel(X) @ self.svc_.dual_coef_[0] + self.svc_.intercept_[0]
        else:
            return _one_vs_rest(self._pairwise(self._kernel(X)))
        return np.stack([-decisions / 2, decisions / 2], axis=1) if decisions.ndim == 1 else decisions

    def logits_and_leads(self, X: ArrayLike) -> tuple[Array, Array]:
        """Return ``logits``, and each class's smallest decision against another class; see ``HeadBase``.

        For most items one class wins all its votes, however sure the head is, so votes, and the logits and
        probabilities based on them, do not rank items by confidence.
        """
        if self.loss == "squared_hinge" or len(self.classes_) == 2:
            return super().logits_and_leads(X)
        check_is_fitted(self)
        features, own = self._preprocess(self._check_features(X)), np.arange(len(self.classes_))

        def of_block(rows: slice) -> tuple[Array, Array]:
            decisions = self._pairwise(self._kernel(features[rows].astype(np.float64)))
            logits = _one_vs_rest(decisions)
            decisions[:, own, own] = np.inf
            return logits, decisions.min(axis=2)

        with thread_per_block() as in_order:
            found = list(in_order(of_block, gen_batches(len(features), self._block_rows())))
        logits, leads = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return logits, leads

    def to_graph(self) -> "nn.Module":
        """Return a module that maps float32 features to ``logits_and_leads``; see ``HeadBase``."""
        if self.loss == "squared_hinge" or len(self.classes_) == 2:
            return super().to_graph()
        from resnet_mlflow.heads.graphs import PairwiseLogits
        from resnet_mlflow.heads.networks import with_preprocessing

        svc, n_classes = self.svc_, len(self.classes_)
        # 0 against the own class.
        of_classes = [np.insert(self._against_others(label), label, 0.0, axis=0) for label in range(n_classes)]
        coefficients = np.concatenate(of_classes, axis=1).T
        intercepts = np.zeros((n_classes, n_classes))
        intercepts[np.triu_indices(n_classes, k=1)] = svc.intercept_
        votes = PairwiseLogits(self._kernel_graph(), coefficients, svc._n_support, intercepts - intercepts.T)
        return with_preprocessing(self, votes)

    def _logits_graph(self) -> "nn.Module":
        from resnet_mlflow.heads.graphs import MarginLogits
        from resnet_mlflow.heads.networks import linear_layer, with_preprocessing

        if self.loss != "squared_hinge":
            svc = self.svc_
            logits: nn.Module = MarginLogits(self._kernel_graph(), svc.dual_coef_[0], float(svc.intercept_[0]))
        elif len(self.classes_) == 2:
            halves = np.array([[-0.5], [0.5]])
            logits = linear_layer(halves * self.svc_.coef_, halves[:, 0] * self.svc_.intercept_)
        else:
            logits = linear_layer(self.svc_.coef_, self.svc_.intercept_)
        return with_preprocessing(self, logits)

    def _kernel_graph(self) -> "nn.Module":
        from resnet_mlflow.heads.graphs import Kernel

        return Kernel(self.svc_.support_vectors_, self.kernel, float(self.svc_._gamma), self.coef0, self.degree)

    def _kernel(self, X: Array) -> Array:
        """Return kernel values with the support vectors; one matrix product is far faster than libsvm's loops."""
        from sklearn.metrics.pairwise import pairwise_kernels

        parameters = {
            "linear": {},
            "rbf": {"gamma": self.svc_._gamma},
            "sigmoid": {"gamma": self.svc_._gamma, "coef0": self.coef0},
            "poly": {"gamma": self.svc_._gamma, "coef0": self.coef0, "degree": self.degree},
        }[self.kernel]
        values: Array = pairwise_kernels(X, self.svc_.support_vectors_, metric=self.kernel, **parameters)
        return values

    def _pairwise(self, kernel: Array) -> Array:
        """Return decisions of shape (n_items, n_classes, n_classes): positive at (i, j) means class i."""
        svc, n_classes = self.svc_, len(self.classes_)
        shares = np.zeros((len(kernel), n_classes, n_classes))
        for label in range(n_classes):
            rows, others = self._vectors_of(label), np.delete(np.arange(n_classes), label)
            shares[:, label, others] = kernel[:, rows] @ self._against_others(label).T
        first, second = np.triu_indices(n_classes, k=1)
        decisions = np.zeros_like(shares)
        decisions[:, first, second] = shares[:, first, second] + shares[:, second, first] + svc.intercept_
        decisions[:, second, first] = -decisions[:, first, second]
        return decisions

    def _vectors_of(self, label: int) -> slice:
        """Return the slice of a class's support vectors."""
        end = int(self.svc_._n_support[: label + 1].sum())
        return slice(end - int(self.svc_._n_support[label]), end)

    def _against_others(self, label: int) -> Array:
        """Return coefficients of a class's support vectors against each of the others, (n_classes - 1, n_vectors)."""
        # Row r of dual_coef_ belongs to the r-th of the other classes (LIBSVM, section 4.1).
        coefficients: Array = self.svc_.dual_coef_[:, self._vectors_of(label)]
        return coefficients


def _one_vs_rest(decisions: Array) -> Array:
    """Return votes plus summed confidence squeezed into (-1/3, 1/3), as scikit-learn's SVC defines it."""
    votes = (decisions > 0).sum(axis=2, dtype=np.float64)
    # A decision of exactly zero counts for the first class of the pair.
    first, second = np.triu_indices(decisions.shape[1], k=1)
    for item, pair in zip(*np.nonzero(decisions[:, first, second] == 0), strict=True):
        votes[item, first[pair]] += 1
    confidence = decisions.sum(axis=2)
    logits: Array = votes + confidence / (3 * (np.abs(confidence) + 1))
    return logits


def _variance(X: Array, weights: Array | None) -> float:
    """Return the variance over all values of X, in float64, without a full float64 copy."""
    per_item = np.ones(len(X)) if weights is None else weights
    n_values = per_item.sum() * X.shape[1]
    blocks = list(gen_batches(len(X), 4096))
    mean = sum(per_item[rows] @ X[rows].sum(axis=1, dtype=np.float64) for rows in blocks) / n_values
    squares = sum(per_item[rows] @ np.square(X[rows] - mean, dtype=np.float64).sum(axis=1) for rows in blocks)
    return float(squares / n_values)
