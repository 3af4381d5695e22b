"""Tests whether slices of a test split differ in their scores."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics.intervals import Floats

# Number of draws, including the observed one: p values are multiples of 1 / 10 000 (1 / 2000 for scores over seeds).
DRAWS, DRAWS_OF_SCORES = 9_999, 1_999


def slices_p_value(scores: ArrayLike, slices: ArrayLike, seed: int = 0) -> float:
    """Return the p value for equal expected scores of the slices of a test split.

    This permutation test reassigns items to slices of the same sizes and counts how often means then differ at least as
    much as observed, by the sum of squared distances to the common mean weighted by size. It keeps its level with few
    items and with no errors. Items count as independent.

    Args:
        scores: Whether an item is right, or its mean over seeds, in [0, 1], ``(n_items,)``.
        slices: Slice of each item, ``(n_items,)``.
        seed: Seed of the draws.

    Raises:
        InputError: If the arrays differ in length, or there is no item.

    References:
        Pitman (1937), Significance Tests Which May be Applied to Samples from any Populations; Phipson and Smyth
        (2010), Permutation P-values Should Never Be Zero, equation 2.

    Example:
        >>> slices_p_value([1] * 20 + [0] * 5, ["north"] * 20 + ["south"] * 5)
        0.0001
        >>> slices_p_value([1, 0] * 10, ["north", "north", "south", "south"] * 5)
        1.0
    """
    values, (_, codes) = np.asarray(scores, dtype=np.float64), np.unique(np.asarray(slices), return_inverse=True)
    if len(values) != len(codes) or not len(values):
        raise InputError(f"scores and slices must have the same length, at least 1, got {len(values)} and {len(codes)}")
    sizes, rng = np.bincount(codes), np.random.default_rng(seed)
    sums = np.bincount(codes, weights=values)
    if ((values == 0) | (values == 1)).all():
        drawn = rng.multivariate_hypergeometric(sizes, int(values.sum()), size=DRAWS)
    else:
        drawn = np.stack([np.bincount(codes, weights=rng.permutation(values)) for _ in range(DRAWS_OF_SCORES)])
    observed, others = _spread(sums[None], sizes), _spread(drawn, sizes)
    # Equal up to rounding is equal.
    n_beyond = int((others >= observed[0] * (1 - 1e-9) - 1e-12).sum())
    return (n_beyond + 1) / (len(others) + 1)


def _spread(sums: NDArray[np.generic], sizes: NDArray[np.int64]) -> Floats:
    means = np.asarray(sums, dtype=np.float64) / sizes
    common = np.asarray(sums, dtype=np.float64).sum(axis=1, keepdims=True) / sizes.sum()
    return np.asarray((sizes * (means - common) ** 2).sum(axis=1))
