"""Comparison of long-tail methods: one row per method over seeds, with its gain over ``none``.

Runs with one seed share validation and training images, and all runs share the test images. Differences from ``none``
are therefore computed seed by seed, with three intervals: over seeds (other training images), over test items (other
test images), and over both together, which corresponds to the p value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    UNKNOWN,
    SeededDifference,
    difference_over_seeds,
    distinct_seeds,
    holm,
    summarize_seeds,
)

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "none"
ORDERED_BY = "val/balanced_accuracy"
SCORES = {
    "accuracy": "test/accuracy",
    "balanced accuracy": "test/balanced_accuracy",
    "many": "test/accuracy_many",
    "medium": "test/accuracy_medium",
    "few": "test/accuracy_few",
    "worst class": "test/worst_class_recall",
    "geometric mean": "test/geometric_mean_recall",
    "harmonic mean": "test/harmonic_mean_recall",
    "macro-F1": "test/macro_f1",
    "ECE": "test/ece",
}
# Scored if the test prior is not uniform.
PRIOR_SCORES = {"prior plain": "test/prior_accuracy", "prior corrected": "test/prior_accuracy_corrected"}
# The other scores are only in the CSV.
SHOWN = ("balanced accuracy", "many", "medium", "few", "worst class", "macro-F1", "ECE", *PRIOR_SCORES)


@dataclass(frozen=True, eq=False)
class MethodRun:
    """Results of one method with one seed; rows of the arrays are test items, in the same order in every run.

    Attributes:
        method: Name of the method.
        seed: Its seed.
        metrics: Metrics of the run under the schema's names.
        train_counts: Training images per class.
        labels: Class of each test item.
        predictions: Predicted class of each test item.
        item_ids: Unique ids of the test items.
        run_id: ID of the tracked run.
        reused: Whether the run had finished before.
    """

    method: str
    seed: int
    metrics: Mapping[str, float]
    train_counts: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    item_ids: NDArray[np.str_]
    run_id: str
    reused: bool = False

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Return the accuracy of each class, NaN for a class without test items."""
        right = np.bincount(self.labels[self.labels == self.predictions], minlength=len(self.train_counts))
        support = np.bincount(self.labels, minlength=len(self.train_counts))
        undefined = np.full(len(support), np.nan)
        return np.asarray(np.divide(right, support, out=undefined, where=support > 0))


def compute_gain(
    runs: Sequence[MethodRun], baseline: Sequence[MethodRun], held_out: float = 0.0
) -> SeededDifference | None:
    """Return a method's gain over ``none`` in balanced accuracy, or None if they share no seed.

    Args:
        runs: A method's runs, one per seed.
        baseline: Runs of ``none``.
        held_out: Ratio of the validation images that a seed draws from the training images to those that remain; 0 if
            it draws none.

    Raises:
        InputError: If the runs have different test items.
    """
    of_none = {run.seed: run for run in baseline}
    pairs = [(run, of_none[run.seed]) for run in runs if run.seed in of_none]
    if not pairs:
        return None
    labels, item_ids = pairs[0][0].labels, pairs[0][0].item_ids
    if not all(np.array_equal(run.item_ids, item_ids) for pair in pairs for run in pair):
        raise InputError(
            "runs of a comparison must have the same test images, got different ones; run all of them again"
        )
    first, second = (np.array([run.predictions == labels for run in side]) for side in zip(*pairs, strict=True))
    return difference_over_seeds(first, second, classes=labels, held_out=held_out)


def build_table(runs: Sequence[MethodRun], seeds: Sequence[int], held_out: float = 0.0) -> "pd.DataFrame":
    """Return one row per method, best validation balanced accuracy first.

    Args:
        runs: Finished runs of all methods, including ``none``.
        seeds: The requested seeds; each row lists its missing ones.
        held_out: As for ``compute_gain``.

    Returns:
        Columns ``method``, ``n seeds`` (with different results), ``repeated seeds`` (with the results of another one),
        ``missing seeds``, per score ``mean`` and ``std`` (sample standard deviation), ``gain`` over ``none`` in
        balanced accuracy with its intervals over seeds, over test items and over both, its p value before and after
        Holm, ``fit s``.
    """
    import pandas as pd

    by_method: dict[str, list[MethodRun]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    gains = {
        method: compute_gain(own, by_method.get(BASELINE, []), held_out)
        for method, own in by_method.items()
        if method != BASELINE
    }
    adjusted = dict(zip(gains, holm([gain.p_value if gain else math.nan for gain in gains.values()]), strict=True))
    rows = [
        _row(method, own, seeds) | _gain_columns(gains.get(method), adjusted.get(method, math.nan))
        for method, own in by_method.items()
    ]
    table = pd.DataFrame(rows)
    return table.sort_values("val balanced accuracy mean", ascending=False, ignore_index=True) if rows else table


def _row(method: str, runs: Sequence[MethodRun], seeds: Sequence[int]) -> dict[str, Any]:
    present = {run.seed: run.metrics for run in runs}
    distinct = distinct_seeds(present)
    runs = [run for run in runs if run.seed in distinct]
    row: dict[str, Any] = {"method": method, "n seeds": len(runs)}
    row["repeated seeds"] = " ".join(str(seed) for seed in present if seed not in distinct)
    row["missing seeds"] = " ".join(str(seed) for seed in seeds if seed not in present)
    scores = {"val balanced accuracy": ORDERED_BY} | SCORES
    scores |= {title: metric for title, metric in PRIOR_SCORES.items() if metric in runs[0].metrics}
    for title, metric in scores.items():
        # A group without classes has no score: the metric is NaN, or was not logged.
        values = {run.seed: run.metrics.get(metric, math.nan) for run in runs}
        summary = summarize_seeds(values, seeds)
        row |= {f"{title} mean": summary.mean, f"{title} std": summary.std}
    row["fit s"] = float(np.mean([run.metrics.get("time/fit_s", math.nan) for run in runs]))
    return row


def _gain_columns(gain: SeededDifference | None, adjusted: float) -> dict[str, float]:
    if gain is None:
        gain = SeededDifference(math.nan, UNKNOWN, math.nan, 0, 0)
    return {
        "gain": gain.difference,
        "gain low": gain.interval[0],
        "gain high": gain.interval[1],
        "gain seeds low": gain.over_seeds[0],
        "gain seeds high": gain.over_seeds[1],
        "gain items low": gain.over_items[0],
        "gain items high": gain.over_items[1],
        "p": gain.p_value,
        "p Holm": adjusted,
    }
