"""Multinomial logistic regression by L-BFGS in coordinates where features do not correlate."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from resnet_mlflow.heads.base import Array

# Of the covariance's mean diagonal: keeps its factor finite where features are constant or copies.
_RIDGE = 1e-6
_OUT_OF_ITERATIONS = 1  # SciPy's status
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
    centred = X - mean.astype(X.dtype)
    factor = _factor(centred, share, n_classes, penalty)

    def unpack(point: Array) -> tuple[Array, Array]:
        moved = point[n_classes:].reshape(n_classes, n_features)
        return solve_triangular(factor, moved.T, lower=True, trans="T", check_finite=False).T, point[:n_classes]

    def pack(by_logit: Array, coef: Array) -> Array:
        by_coef = (by_logit.astype(X.dtype).T @ centred).astype(np.float64) + penalty * coef
        moved = solve_triangular(factor, by_coef.T, lower=True, check_finite=False).T
        return np.concatenate([by_logit.sum(axis=0), moved.ravel()])

    def objective(point: Array) -> tuple[float, Array]:
        coef, intercept = unpack(point)
        logits = _logits(centred, coef, intercept)
        loss, by_logit = _cross_entropy(logits, labels, share)
        return loss + penalty / 2 * float((coef**2).sum()), pack(by_logit, coef)

    def curvature(point: Array) -> Callable[[Array], Array]:
        """Return the Hessian at a point, as the function that multiplies by it."""
        probabilities = softmax(_logits(centred, *unpack(point)), axis=1)

        def times(direction: Array) -> Array:
            coef, intercept = unpack(direction)
            by_logit = probabilities * _logits(centred, coef, intercept)
            by_logit -= probabilities * by_logit.sum(axis=1, keepdims=True)
            return pack(by_logit * share[:, np.newaxis], coef)

        return times

    # By the gradient alone: the loss stops falling measurably long before the weights stand still.
    options: Any = {"maxiter": max_iter, "maxls": 50, "gtol": tol, "ftol": 0.0}
    start = np.zeros(n_classes * (1 + n_features))
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


def _factor(centred: Array, share: Array, n_classes: int, penalty: float) -> Array:
    """Return the lower Cholesky factor of the Hessian at zero weights, up to the classes' share in it."""
    covariance = ((centred * share[:, np.newaxis].astype(centred.dtype)).T @ centred).astype(np.float64) / n_classes
    ridge = penalty + _RIDGE * covariance.diagonal().mean()
    factor: Array = cholesky(covariance + ridge * np.eye(len(covariance)), lower=True)
    return factor


def _logits(X: Array, coef: Array, intercept: Array) -> Array:
    logits: Array = (X @ coef.T.astype(X.dtype)).astype(np.float64) + intercept
    return logits


def _cross_entropy(logits: Array, labels: Array, share: Array) -> tuple[float, Array]:
    """Return the weighted mean loss and its gradient by the logits, ``(n_items, n_classes)``."""
    rows, normaliser = np.arange(len(logits)), logsumexp(logits, axis=1)
    loss = share @ (normaliser - logits[rows, labels])
    gradient = np.exp(logits - normaliser[:, np.newaxis])
    gradient[rows, labels] -= 1
    return float(loss), gradient * share[:, np.newaxis]
