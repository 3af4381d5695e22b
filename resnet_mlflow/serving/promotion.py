"""Decides whether a candidate replaces the champion, and describes the registered version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import confused_pairs, count_confusion
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.serving.looks import LEVEL, level_of_look
from resnet_mlflow.statistics import (
    EXACT_BELOW,
    SeededDifference,
    cross_validated_difference,
    difference_over_seeds,
    holm,
)

N_WORST_PAIRS = 5
# MLflow's page of a version shows no input schema, because none covers both kinds of input; this text replaces it.
REQUEST = """Takes a table with a column `image` (base64 text or bytes of an image file), or uint8 pixels
(n, height, width, 3):

```
{"dataframe_records": [{"image": "iVBORw0KGgo..."}], "params": {"top_k": 3}}
```"""
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Answers:
    """A classifier's test predictions: ids, true and predicted class names, each ``(n_items,)``.

    ``slices`` has the value of each item by column; empty texts are in no slice.
    """

    item_ids: Names
    labels: Names
    predictions: Names
    slices: Mapping[str, Names] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FoldAnswers:
    """Items that a classifier's configuration got right over folds, in the order of their ids.

    Attributes:
        item_ids: ``(n_items,)``.
        labels: True class names, ``(n_items,)``.
        correct: ``(n_repeats, n_items)``.
        folds: Fold that held out each item, of the same shape.
    """

    item_ids: Names
    labels: Names
    correct: NDArray[np.bool_]
    folds: NDArray[np.int64]


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes champion, and why; ``difference`` is None if there was no champion.

    ``look`` is the number of the decision on the test split, from 1.
    """

    promote: bool
    reason: str
    difference: SeededDifference | None = None
    look: int = 1


def decide(candidate: Answers, champion: Answers, metric: str, margin: float, look: int = 1) -> Decision:
    """Return whether the interval of the test difference is above the margin.

    The interval is Tango's. If fewer than 25 images are discordant, McNemar's exact test must agree (for balanced
    accuracy, the exact test of weighted images), since the interval is meant for large samples.

    Args:
        candidate: Answers of the candidate on the test split.
        champion: Answers of the current champion, on the same items in any order.
        metric: ``accuracy`` or ``balanced_accuracy``.
        margin: Required margin, in [0, 1).
        look: Number of the decision on this test split, from 1; see ``level_of_look``.

    Raises:
        InputError: If ``both classifiers must have been tested on the same items`` does not hold.

    References:
        Tango (1998), Statistics in Medicine 17, equations 9 and 10; McNemar (1947), Psychometrika 12.
    """
    first, second = _in_one_order(candidate), _in_one_order(champion)
    if not np.array_equal(first.item_ids, second.item_ids):
        n_shared = len(np.intersect1d(first.item_ids, second.item_ids))
        raise InputError(
            f"both classifiers must have been tested on the same images, got {len(first.item_ids)} and "
            f"{len(second.item_ids)} with {n_shared} in common; evaluate both with the same on_bad_image"
        )
    level = level_of_look(look)
    classes = first.labels if metric == "balanced_accuracy" else None
    scores = [answers.labels == answers.predictions for answers in (first, second)]
    found = difference_over_seeds(*scores, classes=classes, confidence=1 - level)
    n_discordant = int((scores[0] != scores[1]).sum())
    above = found.interval[0] > margin
    sure = n_discordant >= EXACT_BELOW or found.p_value <= level
    reason = _reason(found, metric, margin, look)
    if above and not sure:
        reason += f", but the two differ on only {n_discordant} images: exact test p {found.p_value:.2g}"
    return Decision(above and sure, reason, found, look)


def decide_over_folds(
    candidate: FoldAnswers, champion: FoldAnswers, metric: str, margin: float, look: int = 1
) -> Decision:
    """Return whether the interval of the difference over folds is above the margin, and its test agrees.

    Args:
        candidate: Answers of the candidate on held-out images.
        champion: Answers of the current champion, over the same folds.
        metric: ``accuracy`` or ``balanced_accuracy``.
        margin: Required margin, in [0, 1).
        look: Number of the decision on these images, from 1; see ``level_of_look``.

    Raises:
        InputError: If ``both must have been cross-validated over the same folds`` does not hold.

    References:
        Nadeau and Bengio (2003), Machine Learning 52, equation 9; see ``statistics.resampled``.
    """
    names = ("item_ids", "labels", "folds")
    if not all(np.array_equal(getattr(candidate, name), getattr(champion, name)) for name in names):
        raise InputError(
            "both must have been cross-validated on the same folds, got different images or folds; run both with "
            "the same folds, repeats, seed and on_bad_image"
        )
    level = level_of_look(look)
    found = cross_validated_difference(
        candidate.correct,
        champion.correct,
        candidate.folds,
        classes=candidate.labels if metric == "balanced_accuracy" else None,
        confidence=1 - level,
    )
    above, sure = found.interval[0] > margin, found.p_value <= level
    reason = _reason(found, metric, margin, look, what="cross-validated")
    if above and not sure:
        reason += f", but the corrected test gives p {found.p_value:.2g}"
    return Decision(above and sure, reason, found, look)


def demand_of_slices(decision: Decision, candidate: Answers, champion: Answers, demand: str) -> Decision:
    """Return a decision after checking each slice of the test split: a candidate that fails a slice is not promoted.

    Args:
        decision: The decision on the whole test split.
        candidate: Answers of the candidate, with slices.
        champion: Answers of the current champion, on the same items in any order.
        demand: ``not_worse``: McNemar's test finds it worse on no slice, at 0.05 after Holm over all slices.
            ``not_lower``: it is correct less often on no slice.

    Raises:
        InputError: If there is no information on slices.
    """
    first, second = _in_one_order(candidate), _in_one_order(champion)
    if not first.slices:
        raise InputError(
            f"slices={demand} must find slices in the candidate's predictions, got none; list the images in a table "
            f"with a column to slice by and fit it again, or pass slices=ignore"
        )
    right = [answers.labels == answers.predictions for answers in (first, second)]
    members = {
        f"{column}={value}": values == value
        for column, values in first.slices.items()
        for value in np.unique(values[values != ""])
    }
    found = {name: difference_over_seeds(*(one[rows] for one in right)) for name, rows in members.items()}
    p_values = dict(zip(found, holm([one.p_value for one in found.values()]), strict=True))
    shown = {name: one for name, one in found.items() if one.difference < 0}
    if demand == "not_worse":
        shown = {name: one for name, one in shown.items() if p_values[name] <= LEVEL}
    if not shown:
        return replace(decision, reason=f"{decision.reason}; on none of {len(found)} slices {_said(demand)}")
    text = ", ".join(f"{name} by {one.difference:+.4f} (p {p_values[name]:.2g})" for name, one in shown.items())
    return replace(decision, promote=False, reason=f"{decision.reason}; {_said(demand)} on {text}")


def _said(demand: str) -> str:
    return {"not_worse": "significantly worse", "not_lower": "correct less often"}[demand]


def _reason(found: SeededDifference, metric: str, margin: float, look: int, what: str = "test") -> str:
    low, high = found.interval
    where = "this test split" if what == "test" else "these images"
    again = f" (decision {look} on {where})" if look > 1 else ""
    level, side = 100 * (1 - level_of_look(look)), "above" if low > margin else "not above"
    return (
        f"{what} {metric.replace('_', ' ')} differs by {found.difference:+.4f}, {level:.4g} % interval {low:+.4f} to "
        f"{high:+.4f}{again}, {side} the margin {margin:g}"
    )


def _in_one_order(answers: Answers) -> Answers:
    # Labels too, because an item may be in the test split twice.
    order = np.lexsort((answers.labels, answers.item_ids))
    slices = {name: values[order] for name, values in answers.slices.items()}
    return Answers(answers.item_ids[order], answers.labels[order], answers.predictions[order], slices)


def describe_version(
    title: str,
    metrics: Mapping[str, float],
    answers: Answers,
    reason: str,
    splits: Sequence[str] = ("val", "test"),
    remarks: Sequence[str] = (),
) -> str:
    """Return a model version's description in Markdown: scores with intervals, worst pairs, and the reason.

    Args:
        title: First words.
        metrics: Metrics of the run, under the tracking schema's names.
        answers: Answers on the test split.
        reason: Why the version is champion or not.
        splits: Splits in the names of metrics.
        remarks: Further sentences, such as guarantees on its answers.
    """
    scores = [
        [split, *(_score_with_interval(metrics, split, name) for name in ("accuracy", "balanced_accuracy", "macro_f1"))]
        for split in splits
    ]
    names, (labels, predictions) = _indices(answers.labels, answers.predictions)
    pairs = confused_pairs(count_confusion(labels, predictions, len(names)), N_WORST_PAIRS)
    n_items = np.bincount(labels, minlength=len(names))
    tested = "test" if "test" in splits else "held-out"
    worst = [[names[i], names[j], f"{count} of {n_items[i]}"] for i, j, count in pairs]
    lines = [
        f"**{title}**",
        "\n".join(markdown_table(["split", "accuracy", "balanced accuracy", "macro-F1"], scores)),
        f"Most confused {tested} images:" if worst else f"No {tested} image was confused.",
        *(["\n".join(markdown_table(["class", "predicted as", "images"], worst))] if worst else []),
        f"Decision: {reason}.",
        *remarks,
        REQUEST,
    ]
    return "\n\n".join(lines)


def _score_with_interval(metrics: Mapping[str, float], split: str, name: str) -> str:
    value, low, high = (metrics[f"{split}/{name}{end}"] for end in ("", "_ci_low", "_ci_high"))
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _indices(*columns: Names) -> tuple[list[str], list[NDArray[np.int64]]]:
    names, flat = np.unique(np.concatenate(columns), return_inverse=True)
    return names.tolist(), np.split(flat.astype(np.int64), len(columns))
