"""Multinomial logistic regression by L-BFGS and Newton steps, in coordinates without correlation between features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cholesky, qr, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp

from resnet_mlflow.heads.base import Array
from resnet_mlflow.heads.blocks import InOrder, thread_per_block

# Relative to the covariance's mean diagonal: keeps its factor finite if features are constant or duplicated.
_RIDGE = 1e-6
_OUT_OF_ITERATIONS = 1  # SciPy's status
# Maximum number of items in a block, and of numbers in its logits: 2 MB.
_ROWS, _LOGITS = 1024, 1 << 18
# Centred items and probabilities are kept if the logits of all items have at most this many numbers: 8 MB.
_LOGITS_OF_ALL = 1 << 20
# Steps that L-BFGS remembers, each as two vectors of all weights: SciPy's default, and fewer for many weights.
_PAIRS, _PAIRS_OF_MANY, _FEW_WEIGHTS = 10, 3, 1 << 18
# Gradient at which Newton's steps take over from L-BFGS.
_ROUGH_TOL = 1e-3
_NEWTON_STEPS, _CG_STEPS, _HALVINGS = 60, 200, 20
# Below this, a decrement that no longer halves is rounding error.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Logistic:
    """Weights ``(n_classes, n_features)``, intercepts ``(n_classes,)``, and how they were found."""

    coef: Array
    intercept: Array
    n_iter: int
    converged: bool


def fit_logistic(X: Array, labels: Array, weights: Array | None, *, C: float, max_iter: int, tol: float) -> Logistic:
    """Return the minimum of ``C`` times the losses plus half of ``|w|^2``, as scikit-learn defines it.

    Features of a backbone are correlated, and gradient methods zigzag along the narrow directions. Both solvers
    therefore optimise ``w L`` instead of ``w``, where ``L L'`` is the Hessian up to a factor. L-BFGS, which gets near
    the minimum, uses the Hessian at ``w = 0``; each Newton step uses the Hessian where it starts, since the Hessian
    shrinks as classes separate. With fewer items than features, the weights are in the span of the items, so the search
    is limited to it.

    Args:
        X: Features, of shape (n_items, n_features).
        labels: 0 to ``n_classes - 1``, of shape (n_items,).
        weights: One per item, above 0, or ``None``.
        C: Inverse strength of the penalty, above 0.
        max_iter: Maximum number of iterations of both solvers together.
        tol: Newton decrement at which it stops: the root of twice the amount by which the mean loss, penalty included,
            could still fall. It does not depend on the scale of the features.

    References:
        Nocedal and Wright (2006), Numerical Optimization, algorithms 7.1 and 7.5; Boyd and Vandenberghe (2004), Convex
        Optimization, 9.5: the decrement.
    """
    with thread_per_block() as in_order:
        if len(X) >= X.shape[1]:
            return _search(_Problem(X, labels, weights, C, in_order), max_iter, tol)
        mean = X.mean(axis=0)
        basis, rows = qr((X - mean).T, mode="economic", overwrite_a=True, check_finite=False)
        found = _search(_Problem(rows.T, labels, weights, C, in_order), max_iter, tol)
        coef = found.coef @ basis.T.astype(np.float64)
        return replace(found, coef=coef, intercept=found.intercept - coef @ mean)


def _search(problem: "_Problem", max_iter: int, tol: float) -> Logistic:
    point, n_iter, is_out = _near(problem, max_iter, tol)
    converged = not is_out
    if converged:
        point, n_newton, converged = _newton(problem, point, max(1, max_iter - n_iter), tol)
        n_iter += n_newton
    coef, intercept = point
    # A shift common to all intercepts changes nothing, but steps add one.
    return Logistic(coef, intercept - intercept.mean() - coef @ problem.mean, n_iter, converged)


# A block's number, its rows, and its centred items.
_Block = tuple[int, slice, Array]
# Weights and intercepts, or a gradient with respect to them.
_Point = tuple[Array, Array]


def _near(problem: "_Problem", max_iter: int, tol: float) -> tuple[_Point, int, bool]:
    """Return the point that L-BFGS reaches, its iterations, and whether it ran out of them."""
    coordinates = problem.coordinates()

    def objective(moved: Array) -> tuple[float, Array]:
        loss, gradient = problem.loss_and_gradient(coordinates.unpack(moved))
        return loss, coordinates.pack(gradient)

    start = np.zeros(problem.n_classes * (1 + problem.n_features))
    n_pairs = _PAIRS if len(start) <= _FEW_WEIGHTS else _PAIRS_OF_MANY
    # By the gradient alone: the loss stops falling measurably long before the weights converge.
    options: Any = {"maxiter": max_iter, "maxls": 50, "maxcor": n_pairs, "gtol": max(tol, _ROUGH_TOL), "ftol": 0.0}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return coordinates.unpack(found.x), int(found.nit), found.status == _OUT_OF_ITERATIONS


def _newton(problem: "_Problem", point: _Point, max_steps: int, tol: float) -> tuple[_Point, int, bool]:
    """Return the point that Newton steps reach, their number, and whether they ended by themselves.

    They end at ``tol``, or where the decrement no longer falls, which is the limit of the arithmetic. Losses and
    gradients are in float64 here, so that float32 features cost digits only where they themselves lack them.
    """
    before = np.inf
    loss, gradient = problem.loss_and_gradient(point, exact=True)
    for n_steps in range(min(max_steps, _NEWTON_STEPS)):
        coordinates = problem.coordinates(point)
        slope = coordinates.pack(gradient)
        decrement = float(np.linalg.norm(slope))
        if decrement <= tol or before / 2 < decrement < _ROUNDING:
            return point, n_steps, True
        times = _in_coordinates(problem.curvature(point), coordinates)
        step = -_conjugate_gradients(times, slope, min(0.1, decrement**0.5))
        found = _search_line(problem, point, coordinates.unpack(step), loss, float(slope @ step))
        if found is None:
            return point, n_steps, decrement < _ROUNDING
        point, loss, gradient = found
        before = decrement
    return point, n_steps + 1, False


def _in_coordinates(times: Callable[[_Point], _Point], coordinates: "_Coordinates") -> Callable[[Array], Array]:
    return lambda moved: coordinates.pack(times(coordinates.unpack(moved)))


def _search_line(
    problem: "_Problem", point: _Point, step: _Point, loss: float, slope: float
) -> tuple[_Point, float, _Point] | None:
    """Return the first of the step, its half, its quarter and so on that lowers the loss as predicted, or None."""
    share = 1.0
    for _ in range(_HALVINGS):
        there = (point[0] + share * step[0], point[1] + share * step[1])
        loss_there, gradient = problem.loss_and_gradient(there, exact=True)
        # The last decreases of the loss are smaller than its rounding.
        if loss_there <= loss + 1e-4 * share * slope + 1e-13 * (1 + abs(loss)):
            return there, loss_there, gradient
        share /= 2
    return None


def _conjugate_gradients(times: Callable[[Array], Array], target: Array, precision: float) -> Array:
    """Return ``x`` with ``times(x)`` near ``target``; the matrix of ``times`` is symmetric and positive semidefinite.

    Args:
        times: Function that multiplies by the matrix.
        target: Right-hand side.
        precision: Norm of the residual relative to that of the target.
    """
    found: Array = np.zeros_like(target)
    residual = target.copy()
    direction, square = residual.copy(), float(residual @ residual)
    goal = square * precision**2
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


@dataclass(frozen=True)
class _Coordinates:
    """Weights times the lower-triangular ``factor``, and intercepts times ``scale``, as one vector."""

    factor: Array
    scale: Array

    def unpack(self, moved: Array) -> _Point:
        """Return the weights and intercepts of a vector."""
        n_classes = len(self.scale)
        rows = moved[n_classes:].reshape(n_classes, -1)
        coef = solve_triangular(self.factor, rows.T, lower=True, trans="T", check_finite=False).T
        return coef, moved[:n_classes] / self.scale

    def pack(self, gradient: _Point) -> Array:
        """Return a gradient with respect to weights and intercepts as the gradient with respect to the vector."""
        by_coef, by_intercept = gradient
        rows = solve_triangular(self.factor, by_coef.T, lower=True, check_finite=False).T
        return np.concatenate([by_intercept / self.scale, rows.ravel()])


class _Problem:
    """Mean loss and penalty of weights and intercepts on centred items.

    Attributes:
        n_classes: Number of classes.
        n_features: Number of features.
        mean: Weighted mean of the items.
    """

    def __init__(self, X: Array, labels: Array, weights: Array | None, C: float, in_order: InOrder) -> None:
        self.n_classes, self.n_features = int(labels.max()) + 1, X.shape[1]
        self._labels = labels
        self._share = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
        # scikit-learn has one margin for two classes, and these rows are its halves: their penalty counts once.
        n_counted = len(X) if weights is None else weights.sum()
        self._penalty = (2 if self.n_classes == 2 else 1) / (C * n_counted)
        self.mean = self._share @ X
        self._blocks = _Blocks(X, self.mean, self.n_classes, in_order)

    def loss_and_gradient(self, point: _Point, exact: bool = False) -> tuple[float, _Point]:
        """Return the loss and its gradient at a point, computed in float64 if ``exact``."""
        coef, intercept = point

        def of_block(block: _Block) -> tuple[Array, ...]:
            _, rows, centred = block
            centred = centred.astype(np.float64, copy=False) if exact else centred
            logits = _logits(centred, coef, intercept)
            loss, by_logit = _cross_entropy(logits, self._labels[rows], self._share[rows])
            return np.asarray(loss), *_gradient(by_logit, centred)

        loss, by_coef, by_intercept = self._blocks.sums(of_block)
        total = float(loss) + self._penalty / 2 * float((coef**2).sum())
        return total, (by_coef + self._penalty * coef, by_intercept)

    def curvature(self, point: _Point) -> Callable[[_Point], _Point]:
        """Return the Hessian at a point, as the function that multiplies by it."""
        # For many items they would take more memory than everything else, so they are recomputed.
        kept = self._blocks.each(lambda block: _probabilities(block, point)) if self._blocks.are_kept else []

        def times(direction: _Point) -> _Point:
            coef, intercept = direction

            def of_block(block: _Block) -> tuple[Array, ...]:
                number, rows, centred = block
                probabilities = kept[number] if kept else _probabilities(block, point)
                by_logit = _plain_logits(centred, coef, intercept)
                by_logit *= probabilities
                by_logit -= probabilities * by_logit.sum(axis=1, keepdims=True)
                by_logit *= self._share[rows, np.newaxis].astype(centred.dtype)
                return _gradient(by_logit, centred)

            by_coef, by_intercept = self._blocks.sums(of_block)
            return by_coef + self._penalty * coef, by_intercept

        return times

    def coordinates(self, point: _Point | None = None) -> _Coordinates:
        """Return coordinates in which the Hessian at a point, or at zero weights, is close to the identity.

        Only close, because the classes share one factor instead of one each, and cross-class blocks are ignored.
        """

        def of_block(block: _Block) -> tuple[Array, ...]:
            _, rows, centred = block
            share = self._share[rows]
            if point is None:
                spread = np.full((len(share), self.n_classes), 1 / self.n_classes)
            else:
                probabilities = _probabilities(block, point)
                spread = probabilities * (1 - probabilities)
            weights = (share * spread.mean(axis=1))[:, np.newaxis].astype(centred.dtype)
            return (centred * weights).T @ centred, share @ spread

        square, by_class = self._blocks.sums(of_block)
        scale = np.ones(self.n_classes) if point is None else np.sqrt(np.maximum(by_class, np.finfo(float).tiny))
        return _Coordinates(_cholesky(square, self._penalty), scale)


def _cholesky(square: Array, penalty: float) -> Array:
    """Return the lower Cholesky factor of a matrix that is positive definite up to rounding."""
    ridge = _RIDGE * float(square.diagonal().mean())
    while True:
        try:
            factor: Array = cholesky(square + (penalty + ridge) * np.eye(len(square)), lower=True)
            return factor
        except LinAlgError:  # float32 features and almost no penalty
            ridge *= 10


class _Blocks:
    """Centred items in blocks that depend on the items alone.

    Attributes:
        are_kept: Whether the centred items are kept instead of being recomputed in every pass.
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

    def each(self, of_block: Callable[[_Block], Array]) -> list[Array]:
        """Return the results of a function for each block."""
        return list(self._in_order(of_block, self))

    def sums(self, of_block: Callable[[_Block], tuple[Array, ...]]) -> list[Array]:
        """Return the sums of a function's results over the blocks, in their order and in float64."""
        results = self._in_order(of_block, self)
        totals = [part.astype(np.float64) for part in next(results)]
        for parts in results:
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals


def _probabilities(block: _Block, point: _Point) -> Array:
    """Return the probabilities of a block's items, in the precision of the features: the Hessian needs no more."""
    found = _plain_logits(block[2], *point)
    found -= found.max(axis=1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(axis=1, keepdims=True)
    return found


def _plain_logits(X: Array, coef: Array, intercept: Array) -> Array:
    logits: Array = X @ coef.T.astype(X.dtype)
    logits += intercept.astype(X.dtype)
    return logits


def _gradient(by_logit: Array, centred: Array) -> tuple[Array, Array]:
    """Return a block's gradient with respect to weights and intercepts from that with respect to its logits."""
    return by_logit.astype(centred.dtype, copy=False).T @ centred, by_logit.sum(axis=0, dtype=np.float64)


def _logits(X: Array, coef: Array, intercept: Array) -> Array:
    logits: Array = (X @ coef.T.astype(X.dtype)).astype(np.float64)
    logits += intercept
    return logits


def _cross_entropy(logits: Array, labels: Array, share: Array) -> tuple[float, Array]:
    """Return the weighted mean loss and its gradient with respect to the logits, ``(n_items, n_classes)``."""
    rows, normaliser = np.arange(len(logits)), logsumexp(logits, axis=1)
    loss = share @ (normaliser - logits[rows, labels])
    gradient = logits - normaliser[:, np.newaxis]
    np.exp(gradient, out=gradient)
    gradient[rows, labels] -= 1
    gradient *= share[:, np.newaxis]
    return float(loss), gradient
