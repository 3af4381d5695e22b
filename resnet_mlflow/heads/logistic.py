"""Multinomial logistic regression by L-BFGS in coordinates where features do not correlate."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from resnet_mlflow.heads.base import Array

# Of the covariance's mean diagonal: keeps its factor finite where features are constant or copies.
_RIDGE = 1e-6
_OUT_OF_ITERATIONS = 1  # SciPy's status
# Numbers in the logits of all items that are one block, and in those of one of many: 8 MB and 4 MB.
_LOGITS_OF_ALL, _LOGITS = 1 << 20, 1 << 19
# Steps that L-BFGS remembers, each as two vectors of all weights; SciPy's default, and fewer where weights are many.
_PAIRS, _PAIRS_OF_MANY, _FEW_WEIGHTS = 10, 3, 1 << 18
_NEWTON_STEPS, _CG_STEPS, _CG_TOL = 10, 200, 1e-3


@dataclass(frozen=True)
class Logistic:
    """Weights ``(n_classes, n_features)``, intercepts ``(n_classes,)``, and how they were found."""

    coef: Array
    intercept: Array
    n_iter: int
    converged: bool


def fit_logistic(X: Array, labels: Array, weights: Array | None, *, C: float, max_iter: int, tol: float) -> Logistic:
    """Return the minimum of ``C`` times the losses plus half of ``|w|^2``, as scikit-learn defines it.

    Features of a backbone correlate, and gradient methods zigzag along the narrow directions. L-BFGS therefore moves
    ``w L`` instead of ``w``, where ``L L'`` is the Hessian at ``w = 0``, up to a factor: the optimum is the same, and
    features of an untrained resnet18 take a sixth of the iterations.

    Args:
        X: Of shape (n_items, n_features).
        labels: 0 to ``n_classes - 1``, of shape (n_items,).
        weights: One per item, above 0, or ``None``.
        C: Inverse strength of the penalty, above 0.
        max_iter: Iterations, at most.
        tol: Largest gradient in the coordinates of the search at which it stops, so that it means the same whatever
            the scale of the features.
    """
    n_classes, n_features = int(labels.max()) + 1, X.shape[1]
    share = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
    # Two classes have one margin in scikit-learn, whose halves these rows are: their penalty counts once.
    penalty = (2 if n_classes == 2 else 1) / (C * (len(X) if weights is None else weights.sum()))
    mean = share @ X
    blocks = _Blocks(X, mean, n_classes)
    factor = _factor(blocks, share, n_classes, penalty)

    def unpack(point: Array) -> tuple[Array, Array]:
        moved = point[n_classes:].reshape(n_classes, n_features)
        return solve_triangular(factor, moved.T, lower=True, trans="T", check_finite=False).T, point[:n_classes]

    def pack(by_intercept: Array, by_coef: Array, coef: Array) -> Array:
        by_coef += penalty * coef
        moved = solve_triangular(factor, by_coef.T, lower=True, check_finite=False).T
        return np.concatenate([by_intercept, moved.ravel()])

    def objective(point: Array) -> tuple[float, Array]:
        coef, intercept = unpack(point)
        loss, by_intercept, by_coef = 0.0, np.zeros(n_classes), np.zeros((n_classes, n_features))
        for rows, centred in blocks:
            logits = _logits(centred, coef, intercept)
            block_loss, by_logit = _cross_entropy(logits, labels[rows], share[rows])
            loss += block_loss
            _add_gradient(by_logit, centred, by_intercept, by_coef)
        return loss + penalty / 2 * float((coef**2).sum()), pack(by_intercept, by_coef, coef)

    def curvature(point: Array) -> Callable[[Array], Array]:
        """Return the Hessian at a point, as the function that multiplies by it."""
        here = unpack(point)
        # Of many blocks they would take more memory than all else, and are computed again.
        kept = [softmax(_logits(centred, *here), axis=1) for _, centred in blocks] if blocks.whole else []

        def times(direction: Array) -> Array:
            coef, intercept = unpack(direction)
            by_intercept, by_coef = np.zeros(n_classes), np.zeros((n_classes, n_features))
            for rows, centred in blocks:
                probabilities = kept[0] if kept else softmax(_logits(centred, *here), axis=1)
                by_logit = probabilities * _logits(centred, coef, intercept)
                by_logit -= probabilities * by_logit.sum(axis=1, keepdims=True)
                _add_gradient(by_logit * share[rows, np.newaxis], centred, by_intercept, by_coef)
            return pack(by_intercept, by_coef, coef)

        return times

    # By the gradient alone: the loss stops falling measurably long before the weights stand still.
    start = np.zeros(n_classes * (1 + n_features))
    n_pairs = _PAIRS if len(start) <= _FEW_WEIGHTS else _PAIRS_OF_MANY
    options: Any = {"maxiter": max_iter, "maxls": 50, "maxcor": n_pairs, "gtol": tol, "ftol": 0.0}
    with _scipy_on_one_thread():
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        point, n_newton = found.x, 0
        if found.status != _OUT_OF_ITERATIONS and np.abs(found.jac).max() > tol:
            point, n_newton = _newton(point, lambda at: objective(at)[1], curvature, tol)
    coef, intercept = unpack(point)
    return Logistic(coef, intercept - coef @ mean, int(found.nit) + n_newton, found.status != _OUT_OF_ITERATIONS)


def _newton(
    point: Array, gradient: Callable[[Array], Array], curvature: Callable[[Array], Callable[[Array], Array]], tol: float
) -> tuple[Array, int]:
    """Return where Newton steps lead, and how many were taken.

    The line search of L-BFGS compares losses, whose differences drown in rounding once the gradient is about the root
    of the machine's precision; how soon depends on the processor's order of summation. Newton's steps look at gradients
    only. They end at ``tol``, or where a step no longer shrinks the gradient: that is what the arithmetic can reach.

    References:
        Nocedal and Wright (2006), Numerical Optimization, algorithm 7.1: Newton by conjugate gradients.
    """
    slope, n_steps = gradient(point), 0
    while np.abs(slope).max() > tol and n_steps < _NEWTON_STEPS:
        there = point - _conjugate_gradients(curvature(point), slope)
        slope_there = gradient(there)
        if not np.abs(slope_there).max() < np.abs(slope).max() / 2:
            break
        point, slope, n_steps = there, slope_there, n_steps + 1
    return point, n_steps


def _conjugate_gradients(times: Callable[[Array], Array], target: Array) -> Array:
    """Return ``x`` with ``times(x)`` near ``target``; the matrix behind ``times`` is symmetric, not below zero."""
    found: Array = np.zeros_like(target)
    residual = target.copy()
    direction, square = residual.copy(), float(residual @ residual)
    goal = square * _CG_TOL**2
    for _ in range(_CG_STEPS):
        product = times(direction)
        bend = float(direction @ product)
        if square <= goal or bend <= 0:
            break
        found += square / bend * direction
        residual -= square / bend * product
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return found


def _scipy_on_one_thread() -> AbstractContextManager[Any]:
    """Return what keeps SciPy's BLAS to one thread.

    Its wheels bring a BLAS of their own beside NumPy's. Each lets its threads wait actively, so that two of them in
    turn take each other's cores: three to eight times slower than this on small matrices, and twice on large ones.
    """
    from threadpoolctl import ThreadpoolController  # as slow to import as scikit-learn, which brings it

    controller = ThreadpoolController()
    own = [pool["filepath"] for pool in controller.info() if "scipy.libs" in pool["filepath"]]
    return cast("AbstractContextManager[Any]", controller.select(filepath=own).limit(limits=1))


class _Blocks:
    """Centred items in blocks whose logits take 4 MB; all in one, made once, where theirs take 8 MB at most.

    Attributes:
        whole: Whether there is one block only.
    """

    def __init__(self, X: Array, mean: Array, n_classes: int) -> None:
        self._X, self._mean, self._n_rows = X, mean.astype(X.dtype), max(1, _LOGITS // n_classes)
        self.whole = len(X) * n_classes <= _LOGITS_OF_ALL
        self._all = [(slice(0, len(X)), X - self._mean)] if self.whole else []

    def __iter__(self) -> Iterator[tuple[slice, Array]]:
        yield from self._all or self._parts()

    def _parts(self) -> Iterator[tuple[slice, Array]]:
        for start in range(0, len(self._X), self._n_rows):
            rows = slice(start, start + self._n_rows)
            yield rows, self._X[rows] - self._mean


def _factor(blocks: _Blocks, share: Array, n_classes: int, penalty: float) -> Array:
    """Return the lower Cholesky factor of the Hessian at zero weights, up to the classes' share in it."""
    products = (_weighted_square(centred, share[rows]) for rows, centred in blocks)
    covariance = reduce(np.add, products) / n_classes
    ridge = penalty + _RIDGE * covariance.diagonal().mean()
    factor: Array = cholesky(covariance + ridge * np.eye(len(covariance)), lower=True)
    return factor


def _weighted_square(centred: Array, share: Array) -> Array:
    square: Array = ((centred * share[:, np.newaxis].astype(centred.dtype)).T @ centred).astype(np.float64)
    return square


def _add_gradient(by_logit: Array, centred: Array, by_intercept: Array, by_coef: Array) -> None:
    """Add what a block's gradient by its logits comes to, by intercepts and weights, to that of blocks before."""
    by_intercept += by_logit.sum(axis=0)
    by_coef += by_logit.astype(centred.dtype).T @ centred


def _logits(X: Array, coef: Array, intercept: Array) -> Array:
    logits: Array = (X @ coef.T.astype(X.dtype)).astype(np.float64) + intercept
    return logits


def _cross_entropy(logits: Array, labels: Array, share: Array) -> tuple[float, Array]:
    """Return the weighted mean loss and its gradient by the logits, ``(n_items, n_classes)``."""
    rows, normaliser = np.arange(len(logits)), logsumexp(logits, axis=1)
    loss = share @ (normaliser - logits[rows, labels])
    gradient = logits - normaliser[:, np.newaxis]
    np.exp(gradient, out=gradient)
    gradient[rows, labels] -= 1
    gradient *= share[:, np.newaxis]
    return float(loss), gradient
