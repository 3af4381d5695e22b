"""Cues that reveal the label: whether brightness, size or file format alone predict it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.audit.crossfit import N_FOLDS, draw_folds
from resnet_mlflow.audit.measuring import ImageFacts
from resnet_mlflow.statistics import Interval, balanced_accuracy_interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CUES: dict[str, tuple[str, ...]] = {
    "light": ("brightness", "darkest", "brightest", "contrast", "sharpness"),
    "colour": ("red", "green", "blue"),
    "size": ("width", "height"),
    "file": ("n_bytes", "format"),
}
_MOST_IMAGES = 20_000
# Amount by which the lower limit of the interval must exceed chance for a cue to count.
GIVES_AWAY = 0.1


@dataclass(frozen=True)
class Cue:
    """How well a small classifier predicts labels from a few numbers.

    Attributes:
        name: A key of ``CUES``.
        accuracy: Balanced accuracy on held-out images, in [0, 1].
        interval: Its 95 % interval.
        chance: Accuracy of guessing, one over the number of classes.
    """

    name: str
    accuracy: float
    interval: Interval
    chance: float

    @property
    def gives_away(self) -> bool:
        """Return whether it predicts labels much better than chance."""
        return self.interval[0] > self.chance + GIVES_AWAY


def measure_cues(facts: ImageFacts, labels: Ints, groups: Ints, n_classes: int, seed: int = 0) -> list[Cue]:
    """Return how well each cue alone predicts labels, by cross-fitted decision trees.

    Args:
        facts: Facts about the images.
        labels: Given labels, ``(n_images,)``.
        groups: Group numbers, equal for copies and twins, which stay in one fold, ``(n_images,)``.
        n_classes: Number of classes.
        seed: Seed of the folds, and of the sample if there are over 20 000 images.
    """
    rows = np.flatnonzero(facts.readable)
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_IMAGES])
    folds = draw_folds(labels[rows], groups[rows], seed)
    found = []
    for name, columns in CUES.items():
        table = _table(facts, columns)[rows]
        if (table == table[:1]).all():
            continue  # all images have the same value
        predictions = _cross_fit(table, labels[rows], folds)
        present = np.bincount(labels[rows], minlength=n_classes) > 0
        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        np.add.at(confusion, (labels[rows], predictions), 1)
        recalls = np.diagonal(confusion)[present] / confusion.sum(axis=1)[present]
        interval = balanced_accuracy_interval(confusion)
        found.append(Cue(name, float(recalls.mean()), interval, 1 / int(present.sum())))
    return found


def _table(facts: ImageFacts, columns: tuple[str, ...]) -> Floats:
    formats = np.unique(facts.formats, return_inverse=True)[1].astype(np.float64)
    table = np.stack([formats if name == "format" else facts.column(name) for name in columns], axis=1)
    return np.nan_to_num(table, nan=-1.0)


def _cross_fit(table: Floats, labels: Ints, folds: Ints) -> Ints:
    from sklearn.tree import DecisionTreeClassifier

    predictions = np.zeros(len(labels), dtype=np.int64)
    for fold in range(N_FOLDS):
        held_out = folds == fold
        if held_out.all() or not held_out.any():
            continue
        tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=10, class_weight="balanced", random_state=0)
        predictions[held_out] = tree.fit(table[~held_out], labels[~held_out]).predict(table[held_out])
    return predictions
