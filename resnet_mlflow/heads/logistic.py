"""Multinomial logistic regression by L-BFGS in coordinates where features do not correlate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from resnet_mlflow.heads.base import Array
from resnet_mlflow.heads.blocks import InOrder, thread_per_block

# Of the covariance's mean diagonal: keeps its factor finite where features are constant or copies.
_RIDGE = 1e-6
_OUT_OF_ITERATIONS = 1  # SciPy's status
# Items of a block, at most, and numbers in its logits: 2 MB.
_ROWS, _LOGITS = 1024, 1 << 18
# Numbers in the logits of all items up to which centred items and probabilities are kept: 8 MB.
_LOGITS_OF_ALL = 1 << 20
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
    with thread_per_block() as in_order:
        return _fit(X, labels, weights, C, max_iter, tol, in_order)


def _fit(
    X: Array, labels: Array, weights: Array | None, C: float, max_iter: int, tol: float, in_order: InOrder
) -> Logistic:
    n_classes, n_features = int(labels.max()) + 1, X.shape[1]
    share = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
    # Two classes have one margin in scikit-learn, whose halves these rows are: their penalty counts once.
    penalty = (2 if n_classes == 2 else 1) / (C * (len(X) if weights is None else weights.sum()))
    mean = share @ X
    blocks = _Blocks(X, mean, n_classes, in_order)
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

        def of_block(block: _Block) -> tuple[Array, ...]:
            _, rows, centred = block
            loss, by_logit = _cross_entropy(_logits(centred, coef, intercept), labels[rows], share[rows])
            return np.asarray(loss), *_gradient(by_logit, centred)

        loss, by_intercept, by_coef = blocks.sums(of_block)
        return float(loss) + penalty / 2 * float((coef**2).sum()), pack(by_intercept, by_coef, coef)

    def curvature(point: Array) -> Callable[[Array], Array]:
        """Return the Hessian at a point, as the function that multiplies by it."""
        here = unpack(point)

        def probabilities_of(centred: Array) -> Array:
            return np.asarray(softmax(_logits(centred, *here), axis=1))

        # Of many items they would take more memory than all else, and are computed again.
        kept = [probabilities_of(centred) for _, _, centred in blocks] if blocks.are_kept else []

        def times(direction: Array) -> Array:
            coef, intercept = unpack(direction)

            def of_block(block: _Block) -> tuple[Array, ...]:
                number, rows, centred = block
                probabilities = kept[number] if kept else probabilities_of(centred)
                by_logit = probabilities * _logits(centred, coef, intercept)
                by_logit -= probabilities * by_logit.sum(axis=1, keepdims=True)
                return _gradient(by_logit * share[rows, np.newaxis], centred)

            by_intercept, by_coef = blocks.sums(of_block)
            return pack(by_intercept, by_coef, coef)

        return times

    # By the gradient alone: the loss stops falling measurably long before the weights stand still.
    start = np.zeros(n_classes * (1 + n_features))
    n_pairs = _PAIRS if len(start) <= _FEW_WEIGHTS else _PAIRS_OF_MANY
    options: Any = {"maxiter": max_iter, "maxls": 50, "maxcor": n_pairs, "gtol": tol, "ftol": 0.0}
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


# Number of a block, its rows, and its items less the mean.
_Block = tuple[int, slice, Array]


class _Blocks:
    """Centred items in blocks that depend on the items alone.

    Attributes:
        are_kept: Whether the centred items are, instead of being made anew in every pass.
    """

    def __init__(self, X: Array, mean: Array, n_classes: int, in_order: InOrder) -> None:
        self._X, self._mean, self._in_order = X, mean.astype(X.dtype), in_order
        self._n_rows = max(1, min(_ROWS, _LOGITS // n_classes))
        self.are_kept = len(X) * n_classes <= _LOGITS_OF_ALL
        self._centred = X - self._mean if self.are_kept else None

    def __iter__(self) -> Iterator[_Block]:
        for number, start in enumerate(range(0, len(self._X), self._n_rows)):
            rows = slice(start, start + self._n_rows)
            yield number, rows, self._X[rows] - self._mean if self._centred is None else self._centred[rows]

    def sums(self, of_block: Callable[[_Block], tuple[Array, ...]]) -> list[Array]:
        """Return the sums over blocks, in their order and in float64, of what a function gives for each."""
        results = self._in_order(of_block, self)
        totals = [part.astype(np.float64) for part in next(results)]
        for parts in results:
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals


def _factor(blocks: _Blocks, share: Array, n_classes: int, penalty: float) -> Array:
    """Return the lower Cholesky factor of the Hessian at zero weights, up to the classes' share in it."""

    def of_block(block: _Block) -> tuple[Array, ...]:
        _, rows, centred = block
        return ((centred * share[rows, np.newaxis].astype(centred.dtype)).T @ centred,)

    covariance = blocks.sums(of_block)[0] / n_classes
    ridge = penalty + _RIDGE * covariance.diagonal().mean()
    factor: Array = cholesky(covariance + ridge * np.eye(len(covariance)), lower=True)
    return factor


def _gradient(by_logit: Array, centred: Array) -> tuple[Array, Array]:
    """Return what a block's gradient by its logits comes to, by intercepts and by weights."""
    return by_logit.sum(axis=0), by_logit.astype(centred.dtype).T @ centred


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
