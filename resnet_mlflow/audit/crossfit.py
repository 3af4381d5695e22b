"""Predictions for images by heads that were fitted neither on them nor on their copies or near-duplicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.heads import build_head

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

N_FOLDS = 5
# Penalty strengths to try on a sample. Stronger ones make all probabilities similar, which hides wrong labels: of 250
# among 5000 images of CIFAR-10, 0.001 counts 180.
_C_TRIED, _C_SAMPLE = (0.01, 0.1, 1.0), 5000


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Predictions by heads that were fitted neither on the image nor on its near-duplicates.

    Attributes:
        probabilities: Probabilities of the classes, ``(n_images, n_classes)``; rows sum to 1.
        judged: Which images have a class known to their head, ``(n_images,)``.
        C: Inverse penalty strength of the linear heads.
    """

    probabilities: Floats
    judged: NDArray[np.bool_]
    C: float


def cross_fit(
    features: NDArray[np.float32],
    labels: Ints,
    groups: Ints,
    n_classes: int,
    seed: int = 0,
    on_fold: Callable[[int], object] = int,
) -> CrossFitted:
    """Return predictions for every image by a linear head fitted on the other folds.

    Args:
        features: ``(n_images, n_features)``.
        labels: Given class indices, ``(n_images,)``.
        groups: Images with equal numbers stay in one fold, ``(n_images,)``.
        n_classes: Number of classes.
        seed: Seed of the folds.
        on_fold: Called with 1 after each of ``N_FOLDS`` fits.
    """
    folds = draw_folds(labels, groups, seed)
    C = _choose_strength(features, labels, folds, n_classes, seed)
    probabilities = np.zeros((len(labels), n_classes))
    judged = np.zeros(len(labels), dtype=bool)
    for fold in range(N_FOLDS):
        held_out = folds == fold
        if not held_out.any():
            continue
        probabilities[held_out], known = _predict(features, labels, held_out, n_classes, C)
        judged[held_out] = known[labels[held_out]]
        on_fold(1)
    return CrossFitted(probabilities, judged, C)


def draw_folds(labels: Ints, groups: Ints, seed: int, n_folds: int = N_FOLDS) -> Ints:
    """Return a fold per image: groups stay together, and classes are spread evenly by the first image of each group.

    Example:
        >>> draw_folds(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 3, 4]), seed=0, n_folds=2).tolist()
        [1, 1, 0, 1, 0, 0]
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    fold_of_group = np.zeros(len(first), dtype=np.int64)
    for label in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == label))
        fold_of_group[members] = (np.arange(len(members)) + rng.integers(n_folds)) % n_folds
    return fold_of_group[group]


def _predict(
    features: NDArray[np.float32], labels: Ints, held_out: NDArray[np.bool_], n_classes: int, C: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return probabilities of the held-out images, and the classes known to the head."""
    if len(np.unique(labels[~held_out])) < 2:
        # All images of a class, or nearly all images, are twins of each other: no data are left to judge them.
        return np.full((int(held_out.sum()), n_classes), 1 / n_classes), np.zeros(n_classes, dtype=bool)
    # 1e-3: losses do not resolve more, and the last tenth of the progress takes half of the steps.
    head = build_head("linear", {"C": C, "tol": 1e-3}, 0).fit(features[~held_out], labels[~held_out])
    probabilities = np.zeros((int(held_out.sum()), n_classes))
    probabilities[:, head.classes_] = head.predict_proba(features[held_out])
    return probabilities, np.isin(np.arange(n_classes), head.classes_)


def _choose_strength(
    features: NDArray[np.float32],
    labels: Ints,
    folds: Ints,
    n_classes: int,
    seed: int,
    tried: Sequence[float] = _C_TRIED,
) -> float:
    """Return the penalty that maximises the held-out likelihood of labels on a sample."""
    rows = np.random.default_rng(seed).permutation(len(labels))[:_C_SAMPLE]
    held_out = folds[rows] == 0
    if not held_out.any():
        return tried[0]
    losses = []
    for C in tried:
        probabilities, _ = _predict(features[rows], labels[rows], held_out, n_classes, C)
        own = probabilities[np.arange(len(probabilities)), labels[rows][held_out]]
        losses.append(-np.log(np.maximum(own, 1e-6)).mean())
    return float(tried[int(np.argmin(losses))])
