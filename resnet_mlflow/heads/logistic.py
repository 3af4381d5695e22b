"""Multinomial logistic regression by L-BFGS in coordinates where features do not correlate."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp

from resnet_mlflow.heads.base import Array

# Of the covariance's mean diagonal: keeps its factor finite where features are constant or copies.
_RIDGE = 1e-6


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

    def objective(point: Array) -> tuple[float, Array]:
        coef, intercept = unpack(point)
        loss, by_logit = _cross_entropy(centred, labels, share, coef, intercept)
        by_coef = (by_logit.astype(X.dtype).T @ centred).astype(np.float64) + penalty * coef
        moved = solve_triangular(factor, by_coef.T, lower=True, check_finite=False).T
        return loss + penalty / 2 * float((coef**2).sum()), np.concatenate([by_logit.sum(axis=0), moved.ravel()])

    # By the gradient alone: the loss stops falling measurably long before the weights stand still.
    options: Any = {"maxiter": max_iter, "maxls": 50, "gtol": tol, "ftol": 0.0}
    start = np.zeros(n_classes * (1 + n_features))
    with _scipy_on_one_thread():
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    coef, intercept = unpack(found.x)
    return Logistic(coef, intercept - coef @ mean, int(found.nit), found.status != 1)


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


def _cross_entropy(X: Array, labels: Array, share: Array, coef: Array, intercept: Array) -> tuple[float, Array]:
    """Return the weighted mean loss and its gradient by the logits, ``(n_items, n_classes)``."""
    logits = (X @ coef.T.astype(X.dtype)).astype(np.float64) + intercept
    rows, normaliser = np.arange(len(X)), logsumexp(logits, axis=1)
    loss = share @ (normaliser - logits[rows, labels])
    gradient = np.exp(logits - normaliser[:, np.newaxis])
    gradient[rows, labels] -= 1
    return float(loss), gradient * share[:, np.newaxis]
