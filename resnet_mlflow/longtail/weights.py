"""Class weights from class sizes; all have mean 1 over the classes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError

Floats = NDArray[np.float64]


def inverse_weights(counts: ArrayLike) -> Floats:
    """Return weights proportional to ``1 / n_c``.

    Args:
        counts: Training images by class, at least 1, of shape (n_classes,).

    Example:
        >>> inverse_weights([30, 10]).tolist()
        [0.5, 1.5]
    """
    return _mean_one(1 / checked_counts(counts))


def sqrt_weights(counts: ArrayLike) -> Floats:
    """Return weights proportional to ``1 / sqrt(n_c)``.

    Args:
        counts: Training images by class, at least 1, of shape (n_classes,).

    References:
        Mahajan et al. (2018), Exploring the Limits of Weakly Supervised Pretraining, section 2.2.

    Example:
        >>> sqrt_weights([9, 1]).tolist()
        [0.5, 1.5]
    """
    return _mean_one(checked_counts(counts) ** -0.5)


def effective_weights(counts: ArrayLike, beta: float = 0.9999) -> Floats:
    """Return weights proportional to one over the effective number of images, ``(1 - beta) / (1 - beta ** n_c)``.

    Args:
        counts: Training images by class, at least 1, of shape (n_classes,).
        beta: In ``[0, 1)``: 0 weights all classes equally; towards 1 the weights approach ``inverse_weights``.

    Raises:
        InputError: If ``beta`` is not in ``[0, 1)``.

    References:
        Cui et al. (2019), Class-Balanced Loss Based on Effective Number of Samples, equation 4.

    Example:
        >>> effective_weights([2, 1], beta=0.5).round(4).tolist()
        [0.8, 1.2]
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta must be in [0, 1), got {beta:g}; for example 0.999")
    if beta == 0:
        return np.ones(len(checked_counts(counts)))
    # 1 - beta ** n, without the loss of digits by subtraction if beta is near 1.
    return _mean_one(-1 / np.expm1(checked_counts(counts) * np.log(beta)))


def per_item_scale(weights: Floats, counts: ArrayLike) -> Floats:
    """Return the class weights scaled to mean 1 over the training items.

    This keeps the meaning of a head's regularisation strength, as with scikit-learn's ``balanced``.

    Example:
        >>> per_item_scale(np.array([0.5, 1.5]), [30, 10]).round(4).tolist()
        [0.6667, 2.0]
    """
    sizes = checked_counts(counts)
    return np.asarray(weights * sizes.sum() / (weights @ sizes))


def checked_counts(counts: ArrayLike) -> Floats:
    """Return class sizes as floats of shape (n_classes,).

    Raises:
        InputError: If a class has no training image.
    """
    sizes = np.asarray(counts, dtype=np.float64)
    if sizes.ndim != 1 or len(sizes) < 2:
        raise InputError(
            f"counts must be one number for each of at least 2 classes, got shape {sizes.shape}; count images by class"
        )
    empty = np.flatnonzero(~(sizes >= 1))
    if len(empty):
        raise InputError(
            f"every class must have at least 1 training image, got {sizes[empty[0]]:g} of class {empty[0]}; add images "
            "or remove the class"
        )
    return sizes


def _mean_one(weights: Floats) -> Floats:
    return np.asarray(weights / weights.mean())
