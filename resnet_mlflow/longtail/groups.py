"""Scores by class size: many, medium and few training images."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation

GROUPS = ("many", "medium", "few")


def group_classes(train_counts: ArrayLike, many: float = 100, few: float = 20) -> dict[str, NDArray[np.int64]]:
    """Return the classes of each group: above ``many`` training images, below ``few``, and in between.

    Args:
        train_counts: Training images by class, of shape (n_classes,).
        many: Maximum number of images of a medium class.
        few: Minimum number of images of a medium class, at most ``many``.

    Raises:
        InputError: If ``few`` is above ``many``.

    References:
        Liu et al. (2019), Large-Scale Long-Tailed Recognition in an Open World, section 4: many above 100, few
        below 20.

    Example:
        >>> {name: classes.tolist() for name, classes in group_classes([500, 101, 100, 20, 19]).items()}
        {'many': [0, 1], 'medium': [2, 3], 'few': [4]}
    """
    if not 0 <= few <= many:
        raise InputError(
            "the class size thresholds must ascend from few to many, got few below "
            f"{few:g} and many above {many:g}; for example 20 and 100"
        )
    counts = np.asarray(train_counts)
    chosen = {"many": counts > many, "medium": (counts >= few) & (counts <= many), "few": counts < few}
    return {name: np.flatnonzero(chosen[name]) for name in GROUPS}


def group_tertiles(train_counts: ArrayLike) -> tuple[int, int]:
    """Return thresholds ``(many, few)`` that put a third of the classes in each group, ties aside.

    Example:
        >>> group_tertiles([9, 8, 7, 6, 5, 4])
        (7, 6)
    """
    counts = np.sort(np.asarray(train_counts))
    third = len(counts) // 3
    few, many = int(counts[third]), int(counts[-third - 1])
    return many, few


def group_scores(recalls: ArrayLike, groups: Mapping[str, NDArray[np.int64]]) -> dict[str, tuple[float, int]]:
    """Return the unweighted mean recall and the number of classes of each group; an empty group is NaN and 0.

    Args:
        recalls: Recall by class, of shape (n_classes,); NaN for classes without items.
        groups: Classes of each group, see ``group_classes``.

    Example:
        >>> group_scores([1.0, 0.5], {"many": np.array([0, 1]), "few": np.array([], int)})
        {'many': (0.75, 2), 'few': (nan, 0)}
    """
    values = np.asarray(recalls, dtype=np.float64)
    return {name: (_mean(values[classes]), len(classes)) for name, classes in groups.items()}


def class_recalls(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return the recall of each class, NaN for classes without items, of shape (n_classes,)."""
    support = evaluation.confusion.sum(axis=1)
    undefined = np.full(len(support), np.nan)
    return np.asarray(np.divide(np.diagonal(evaluation.confusion), support, out=undefined, where=support > 0))


def long_tail_metrics(
    evaluation: Evaluation, train_counts: ArrayLike, many: float = 100, few: float = 20
) -> dict[str, float]:
    """Return the scores of a classifier on a long tail by logged name, without the split.

    They are ``accuracy_many|medium|few`` with ``n_classes_many|medium|few``, ``worst_class_recall``, and the geometric
    and harmonic mean of recalls, which are 0 if a class has recall 0.

    Args:
        evaluation: Evaluation of the classifier on one split.
        train_counts: Training images by class, of shape (n_classes,).
        many: Maximum number of images of a medium class.
        few: Minimum number of images of a medium class.

    Raises:
        InputError: If ``few`` is above ``many``.
    """
    recalls = class_recalls(evaluation)
    metrics: dict[str, float] = {}
    for name, (score, size) in group_scores(recalls, group_classes(train_counts, many, few)).items():
        metrics |= {f"accuracy_{name}": score, f"n_classes_{name}": float(size)}
    tested = recalls[~np.isnan(recalls)]
    with np.errstate(divide="ignore"):  # a recall of 0 makes both means 0, which is their limit
        geometric, harmonic = np.exp(np.log(tested).mean()), 1 / (1 / tested).mean()
    return metrics | {
        "worst_class_recall": float(tested.min()),
        "geometric_mean_recall": float(geometric),
        "harmonic_mean_recall": float(harmonic),
    }


def _mean(recalls: NDArray[np.float64]) -> float:
    tested = recalls[~np.isnan(recalls)]
    return float(tested.mean()) if len(tested) else float("nan")
