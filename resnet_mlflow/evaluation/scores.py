"""Scores of a classifier on labelled items, from its probabilities, with their uncertainty.

Classes without test items have no recall. Balanced accuracy and macro-F1 average over the classes with items; this set
depends only on the labels, so it is the same for every classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    ClassCounts,
    Floats,
    Interval,
    accuracy_interval,
    balanced_accuracy_interval,
    macro_f1_interval,
)

if TYPE_CHECKING:
    import pandas as pd

# With fewer classes, the top five are so large a share of all that the score says little.
TOP5_MIN_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of one classifier on one split; rows of the arrays are items, in the given order."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    confusion: NDArray[np.int64]
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    item_ids: NDArray[np.str_]

    def report(self) -> dict[str, Any]:
        """Return precision, recall, F1 and support by class and on average, ready for JSON.

        ``None`` means undefined: the recall of a class without items, or the precision of a class that is never
        predicted. Classes have their own key, so that a class named "accuracy" hides nothing.
        """
        counts = ClassCounts.of(self.confusion)
        columns = {
            "precision": _ratio(counts.hits, counts.predicted),
            "recall": _ratio(counts.hits, counts.support),
            "f1": _ratio(2 * counts.hits, counts.support + counts.predicted),
        }
        classes = {
            name: {
                **{key: None if np.isnan(values[i]) else float(values[i]) for key, values in columns.items()},
                "support": int(counts.support[i]),
            }
            for i, name in enumerate(self.class_names)
        }
        return {
            "accuracy": self.metrics["accuracy"],
            "macro_avg": _averages(columns, counts.support, counts.support > 0),
            "weighted_avg": _averages(columns, counts.support, counts.support),
            "classes": classes,
        }

    def predictions_frame(self, known: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """Return one row per item: ``item_id``, ``label``, ``prediction`` by name, and ``score_<class>`` in float32.

        Args:
            known: Further columns about the items, placed after their ids.
        """
        import pandas as pd

        names = np.array(self.class_names)
        scores = pd.DataFrame(
            self.probabilities.astype(np.float32), columns=[f"score_{name}" for name in self.class_names]
        )
        ids = pd.DataFrame({"item_id": self.item_ids})
        said = pd.DataFrame({"label": names[self.labels], "prediction": names[self.predictions]})
        return pd.concat([ids, *([] if known is None else [known]), said, scores], axis=1)


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    item_ids: ArrayLike,
    class_names: Sequence[str],
) -> Evaluation:
    """Return metrics, their 95 % intervals and the confusion matrix of a classifier.

    ``top5_accuracy`` is included from 10 classes on. The prediction is the most probable class, the first one if tied.
    Accuracy has Wilson's interval, modified for 3 errors or fewer; balanced accuracy and macro-F1 have the same with
    effective numbers of items, see ``statistics.balanced``.

    Args:
        labels: Class of each item, integers in ``[0, n_classes)``, ``(n_items,)``.
        probabilities: Rows that sum to one, ``(n_items, n_classes)``.
        item_ids: Unique ids of the items, ``(n_items,)``.
        class_names: ``n_classes`` distinct names, at least 2.

    Raises:
        InputError: If an array has the wrong shape, a label is out of range, or a row is not a distribution.

    Example:
        >>> e = evaluate([0, 0, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], ["a", "b", "c"], ["cat", "dog"])
        >>> e.metrics["balanced_accuracy"], e.confusion.tolist()
        (0.75, [[1, 1], [0, 1]])
    """
    y = np.asarray(labels)
    scores = np.asarray(probabilities)
    ids = np.asarray(item_ids, dtype=np.str_)
    _check_labels(y, ids, class_names)
    _check_probabilities(scores, len(y), len(class_names))
    y = y.astype(np.int64)
    predictions = scores.argmax(axis=1).astype(np.int64)
    confusion = count_confusion(y, predictions, len(class_names))
    intervals = {
        "accuracy": accuracy_interval(int(np.trace(confusion)), len(y)),
        "balanced_accuracy": balanced_accuracy_interval(confusion),
        "macro_f1": macro_f1_interval(confusion),
    }
    return Evaluation(
        compute_metrics(y, scores, confusion), intervals, confusion, tuple(class_names), y, predictions, scores, ids
    )


def compute_metrics(
    labels: NDArray[np.int64], probabilities: NDArray[Any], confusion: NDArray[np.int64]
) -> dict[str, float]:
    """Return the metrics of ``evaluate`` without intervals, which tuning trials do not need."""
    counts = ClassCounts.of(confusion)
    metrics = {
        "accuracy": float(counts.hits.sum() / len(labels)),
        "balanced_accuracy": float(balanced_accuracy(counts)),
        "macro_f1": float(macro_f1(counts)),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }
    if len(confusion) >= TOP5_MIN_CLASSES:
        metrics["top5_accuracy"] = top_k_accuracy(probabilities, labels, 5)
    return metrics


def count_confusion(labels: NDArray[np.int64], predictions: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return how many items of each label (row) got each prediction (column), ``(n_classes, n_classes)``."""
    cells = np.bincount(labels * n_classes + predictions, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def balanced_accuracy(counts: ClassCounts) -> Floats:
    """Return the mean recall over classes with items."""
    present = counts.support > 0
    return np.asarray((counts.hits[..., present] / counts.support[present]).mean(axis=-1))


def macro_f1(counts: ClassCounts) -> Floats:
    """Return the mean F1 over classes with items; equals scikit-learn's with ``labels=`` set to those classes."""
    present = counts.support > 0
    both = counts.support[present] + counts.predicted[..., present]
    return np.asarray((2 * counts.hits[..., present] / both).mean(axis=-1))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of ``-log p(label)`` in nats, with ``p`` clipped at 2.2e-16 (float64's epsilon).

    This clip, the same as scikit-learn's, limits the cost of a certain but wrong answer to 36 nats.
    """
    y = np.asarray(labels)
    of_label = np.asarray(probabilities)[np.arange(len(y)), y].astype(np.float64)
    # 0.0 - x rather than -x: a perfect classifier scores 0, not -0.
    return float(0.0 - np.log(np.clip(of_label, np.finfo(np.float64).eps, 1.0)).mean())


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Return the gap between confidence and accuracy, averaged over bins weighted by their items.

    Confidence is the largest probability; bin ``m`` of ``n_bins`` holds ``(m - 1) / n_bins < confidence <=
    m / n_bins``.

    Args:
        probabilities: Rows that sum to one, ``(n_items, n_classes)``.
        labels: Class of each item, ``(n_items,)``.
        n_bins: Number of bins of equal width, at least 1.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks, equations 2 and 3.

    Example:
        >>> round(expected_calibration_error([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 4)
        0.4
    """
    confidence, right, bins = confidence_bins(probabilities, labels, n_bins)
    gaps = right - confidence
    return float(np.abs(np.bincount(bins, weights=gaps, minlength=n_bins)).sum() / len(gaps))


def confidence_bins(
    probabilities: ArrayLike, labels: ArrayLike, n_bins: int
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.intp]]:
    """Return each item's confidence, whether it is right, and its bin; see ``expected_calibration_error``."""
    scores = np.asarray(probabilities)
    confidence = scores.max(axis=1).astype(np.float64)
    right = scores.argmax(axis=1) == np.asarray(labels)
    return confidence, right, np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], confidence, side="left")


def top_k_accuracy(probabilities: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Return the share of items whose label is among the ``k`` most probable classes; ties go to the first classes."""
    scores, y = np.asarray(probabilities), np.asarray(labels)[:, None]
    of_label = np.take_along_axis(scores, y, axis=1)
    earlier_ties = (scores == of_label) & (np.arange(scores.shape[1]) < y)
    ahead = (scores > of_label).sum(axis=1) + earlier_ties.sum(axis=1)
    return float((ahead < k).mean())


def confused_pairs(confusion: NDArray[np.int64], n_pairs: int) -> list[tuple[int, int, int]]:
    """Return the ``n_pairs`` most common confusions as (label, prediction, items), largest first, none empty."""
    wrong = confusion - np.diag(np.diagonal(confusion))
    labels, predictions = np.nonzero(wrong)
    counts = wrong[labels, predictions]
    order = np.argsort(-counts, kind="stable")[:n_pairs]
    return [(int(labels[i]), int(predictions[i]), int(counts[i])) for i in order]


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> Floats:
    undefined = np.full(len(numerator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=undefined, where=denominator > 0))


def _averages(columns: dict[str, Floats], support: NDArray[np.int64], weights: NDArray[Any]) -> dict[str, float | int]:
    # A class with items that is never predicted has no precision; it counts as 0 in averages, as in F1.
    means = {key: float(np.average(np.nan_to_num(values), weights=weights)) for key, values in columns.items()}
    return {**means, "support": int(support.sum())}


def _check_labels(labels: NDArray[Any], item_ids: NDArray[np.str_], class_names: Sequence[str]) -> None:
    n_classes = len(class_names)
    if n_classes < 2 or len(set(class_names)) < n_classes:
        raise InputError(f"class_names must be at least 2 distinct names, got {list(class_names)[:5]}; rename classes")
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"labels must be (n_items,) with at least one item, got shape {labels.shape}; pass all items")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels must be class indices, got dtype {labels.dtype}; convert names to integers")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise InputError(
            f"labels must be in [0, {n_classes - 1}] ({n_classes} class names), got {labels.min()} to {labels.max()}; "
            "name every class"
        )
    if item_ids.shape != labels.shape:
        raise InputError(f"item_ids must have one id per label, got {item_ids.shape} for {labels.shape}; pass both")


def _check_probabilities(probabilities: NDArray[Any], n_items: int, n_classes: int) -> None:
    if probabilities.shape != (n_items, n_classes):
        raise InputError(
            f"probabilities must be (n_items, n_classes) = ({n_items}, {n_classes}), got {probabilities.shape}; "
            "give one column per class name"
        )
    if not np.isfinite(probabilities).all():
        row = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise InputError(
            f"probabilities must be finite, got NaN or infinity in row {row}; check whether training diverged"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # float32 softmax over 1000 classes sums to one within 1e-5, bfloat16 within about 1e-3.
    bad = np.flatnonzero((np.abs(sums - 1) > 5e-3) | (probabilities < 0).any(axis=1))
    if len(bad):
        raise InputError(
            f"rows of probabilities must be non-negative and sum to one, got a sum of {sums[bad[0]]:.6g} in row "
            f"{bad[0]}; apply softmax to logits"
        )
