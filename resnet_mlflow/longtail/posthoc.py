"""Corrections of a fitted classifier's logits, and the choice of their strength on validation data."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.weights import checked_counts

Floats = NDArray[np.float64]
Params = Mapping[str, float]
Curve = list[tuple[dict[str, float], float]]


def class_priors(counts: ArrayLike) -> Floats:
    """Return the share of each class in the training images, of shape (n_classes,)."""
    sizes = checked_counts(counts)
    return np.asarray(sizes / sizes.sum())


def logit_offsets(counts: ArrayLike, tau: float) -> Floats:
    """Return ``-tau * log(prior)``, which logit adjustment adds to the logits of each class.

    Args:
        counts: Training images by class, of shape (n_classes,).
        tau: Strength; 0 changes nothing, 1 turns calibrated training posteriors into those of a uniform prior.

    References:
        Menon et al. (2021), Long-tail Learning via Logit Adjustment, equation 9.

    Example:
        >>> np.exp(logit_offsets([3, 1], tau=1.0)).round(4).tolist()
        [1.3333, 4.0]
    """
    return np.asarray(-tau * np.log(class_priors(counts)))


def tau_normalize(coef: ArrayLike, tau: float) -> Floats:
    """Return the rows of a linear layer divided by their norm to the power ``tau``; the bias must be dropped.

    Args:
        coef: Weights, of shape (n_classes, n_features); rows of zeros stay zero.
        tau: Exponent; 0 keeps the rows, 1 gives all rows length 1.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, equation 4.

    Example:
        >>> tau_normalize([[3.0, 4.0], [0.0, 2.0]], tau=1.0).tolist()
        [[0.6, 0.8], [0.0, 1.0]]
    """
    rows = np.asarray(coef, dtype=np.float64)
    return np.asarray(rows / row_norms(rows)[:, np.newaxis] ** tau)


def row_norms(coef: Floats) -> Floats:
    """Return the Euclidean norm of each row, 1 for rows of zeros, of shape (n_classes,)."""
    norms = np.linalg.norm(coef, axis=1)
    norms[norms == 0] = 1
    return np.asarray(norms)


def prior_offsets(test_prior: ArrayLike, implied_prior: ArrayLike | None = None) -> Floats:
    """Return the offsets that logits need if the test classes are not equally frequent.

    Args:
        test_prior: Share of each class among the test items, above 0, of shape (n_classes,); scaled to sum to 1.
        implied_prior: Share of each class implied by the logits; None means uniform.

    Raises:
        InputError: If a share is not above 0, or the shapes differ.

    References:
        Saerens et al. (2002), Adjusting the Outputs of a Classifier to New a Priori Probabilities, equation 4.

    Example:
        >>> np.exp(prior_offsets([3, 1])).tolist()
        [1.5, 0.5]
    """
    wanted = np.asarray(test_prior, dtype=np.float64)
    implied = np.ones_like(wanted) if implied_prior is None else np.asarray(implied_prior, dtype=np.float64)
    if wanted.ndim != 1 or implied.shape != wanted.shape or not ((wanted > 0) & np.isfinite(wanted)).all():
        raise InputError(
            f"test_prior must contain a fraction above 0 for each of the {len(implied)} classes, got "
            f"{wanted.tolist()}; "
            "write one number per class"
        )
    return np.asarray(np.log(wanted / wanted.sum()) - np.log(implied / implied.sum()))


def mean_recall(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Return the mean recall over classes with items, the criterion for all choices.

    Example:
        >>> round(mean_recall(np.array([0, 0, 2]), np.array([0, 1, 2])), 4)
        0.75
    """
    support = np.bincount(labels)
    hits = np.bincount(labels[labels == predictions], minlength=len(support))
    return float((hits[support > 0] / support[support > 0]).mean())


def choose(score: Callable[[Params], float], grid: Iterable[Params]) -> tuple[dict[str, float], Curve]:
    """Return the parameters with the highest score, the first if tied, and the scores of the whole grid.

    Args:
        score: Maps parameters to their score on validation data.
        grid: Parameters to try, at least one set.

    Example:
        >>> choose(lambda params: -abs(params["tau"] - 1), [{"tau": 0.5}, {"tau": 1.0}])[0]
        {'tau': 1.0}
    """
    curve: Curve = [(dict(params), score(params)) for params in grid]
    best: Any = max(curve, key=lambda point: point[1])
    return dict(best[0]), curve
