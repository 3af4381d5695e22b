"""Over- and under-sampling and SMOTE, using imbalanced-learn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOTE_NEIGHBORS = 5


def oversampled_rows(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return all rows, with those of small classes repeated until every class has as many as the largest.

    Args:
        labels: Class indices, of shape (n_items,).
        seed: Seed of the choice.

    References:
        Buda et al. (2018), A systematic study of the class imbalance problem, section 2.

    Example:
        >>> len(oversampled_rows(np.array([0, 0, 0, 1]), seed=0))
        6
    """
    from imblearn.over_sampling import RandomOverSampler

    return _resampled(RandomOverSampler(random_state=seed), labels)


def undersampled_rows(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return rows with large classes reduced until every class has as few as the smallest.

    Args:
        labels: Class indices, of shape (n_items,).
        seed: Seed of the choice.

    References:
        Buda et al. (2018), A systematic study of the class imbalance problem, section 2.

    Example:
        >>> len(undersampled_rows(np.array([0, 0, 0, 1]), seed=0))
        2
    """
    from imblearn.under_sampling import RandomUnderSampler

    return _resampled(RandomUnderSampler(random_state=seed), labels)


def _resampled(sampler: Any, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(np.unique(np.bincount(labels))) == 1:
        return np.arange(len(labels))  # already balanced: both would only reorder rows
    sampler.fit_resample(np.arange(len(labels))[:, np.newaxis], labels)
    return np.asarray(sampler.sample_indices_, dtype=np.int64)


def smote(
    features: NDArray[np.float32], labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features and labels with new items for small classes, each between two neighbours of its class.

    If a class has too few items for 5 neighbours, the number that the smallest class allows is used; a class with a
    single item is repeated instead.

    Args:
        features: Features, of shape (n_items, n_features).
        labels: Class indices, of shape (n_items,).
        seed: Seed of the new items.

    References:
        Chawla et al. (2002), SMOTE: Synthetic Minority Over-sampling Technique, section 4.
    """
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(labels)
    present = counts[counts > 0]
    if present.min() == present.max():
        return features, labels
    if present.min() == 1:
        single = np.flatnonzero(np.isin(labels, np.flatnonzero(counts == 1)))
        features, labels = np.concatenate([features, features[single]]), np.concatenate([labels, labels[single]])
    neighbors = int(min(SMOTE_NEIGHBORS, max(1, np.bincount(labels)[counts > 0].min() - 1)))
    made, of_class = SMOTE(random_state=seed, k_neighbors=neighbors).fit_resample(features, labels)
    return np.asarray(made, dtype=features.dtype), np.asarray(of_class, dtype=np.int64)
