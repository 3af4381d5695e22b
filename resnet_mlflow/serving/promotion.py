"""Whether a candidate replaces the champion, and what people read about the one that is registered."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import confused_pairs, count_confusion
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.statistics import PairedDifference, paired_bootstrap_difference

N_WORST_PAIRS = 5
# MLflow's page of a version shows no input schema, because none holds both kinds of input; this stands in for it.
REQUEST = """Takes a table with a column `image` (base64 text or bytes of an image file), or uint8 pixels
(n, height, width, 3):

```
{"dataframe_records": [{"image": "iVBORw0KGgo..."}], "params": {"top_k": 3}}
```"""
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier said of the test items: ids, true and predicted class names, each ``(n_items,)``."""

    item_ids: Names
    labels: Names
    predictions: Names


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes champion, and why; ``difference`` is None where there was no champion."""

    promote: bool
    reason: str
    difference: PairedDifference | None = None


def decide(candidate: Answers, champion: Answers, metric: str, margin: float) -> Decision:
    """Return whether the interval of the test difference lies above the margin.

    Args:
        candidate: Its answers on the test split.
        champion: Those of the present champion, on the same items in any order.
        metric: ``accuracy`` or ``balanced_accuracy``.
        margin: In [0, 1).

    Raises:
        InputError: If ``both classifiers must have been tested on the same items`` does not hold.
    """
    first, second = _in_one_order(candidate), _in_one_order(champion)
    if not np.array_equal(first.item_ids, second.item_ids):
        n_shared = len(np.intersect1d(first.item_ids, second.item_ids))
        raise InputError(
            f"both classifiers must have been tested on the same items, got {len(first.item_ids)} and "
            f"{len(second.item_ids)} with {n_shared} in common; evaluate both with the same on_bad_image"
        )
    classes = first.labels if metric == "balanced_accuracy" else None
    scores = [(answers.labels == answers.predictions).astype(float) for answers in (first, second)]
    difference = paired_bootstrap_difference(*scores, classes=classes)
    low, high = difference.interval
    name = metric.replace("_", " ")
    found = f"test {name} differs by {difference.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    promote = low > margin
    return Decision(promote, f"{found}, {'above' if promote else 'not above'} the margin {margin:g}", difference)


def _in_one_order(answers: Answers) -> Answers:
    # Labels too, because an item may stand in the test split twice.
    order = np.lexsort((answers.labels, answers.item_ids))
    return Answers(answers.item_ids[order], answers.labels[order], answers.predictions[order])


def describe_version(title: str, metrics: Mapping[str, float], answers: Answers, reason: str) -> str:
    """Return a model version's description in Markdown: scores with intervals, worst pairs, and the reason.

    Args:
        title: First words.
        metrics: The run's, under the tracking schema's names.
        answers: On the test split.
        reason: Why the version is champion or not.
    """
    scores = [
        [split, *(_score_with_interval(metrics, split, name) for name in ("accuracy", "balanced_accuracy", "macro_f1"))]
        for split in ("val", "test")
    ]
    names, (labels, predictions) = _indices(answers.labels, answers.predictions)
    pairs = confused_pairs(count_confusion(labels, predictions, len(names)), N_WORST_PAIRS)
    n_items = np.bincount(labels, minlength=len(names))
    worst = [[names[i], names[j], f"{count} of {n_items[i]}"] for i, j, count in pairs]
    lines = [
        f"**{title}**",
        "\n".join(markdown_table(["split", "accuracy", "balanced accuracy", "macro-F1"], scores)),
        "Most confused test images:" if worst else "No test image was confused.",
        *(["\n".join(markdown_table(["class", "taken for", "images"], worst))] if worst else []),
        f"Decision: {reason}.",
        REQUEST,
    ]
    return "\n\n".join(lines)


def _score_with_interval(metrics: Mapping[str, float], split: str, name: str) -> str:
    value, low, high = (metrics[f"{split}/{name}{end}"] for end in ("", "_ci_low", "_ci_high"))
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _indices(*columns: Names) -> tuple[list[str], list[NDArray[np.int64]]]:
    names, flat = np.unique(np.concatenate(columns), return_inverse=True)
    return names.tolist(), np.split(flat.astype(np.int64), len(columns))
