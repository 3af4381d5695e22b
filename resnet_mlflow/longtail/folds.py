"""Comparison of cross-validated long-tail methods: one row per method over folds, with its gain over ``none``.

Methods share the folds, so differences from ``none`` are computed fold by fold, on the same images.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.longtail.table import BASELINE
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.statistics import UNKNOWN, SeededDifference, cross_validated_difference, holm

if TYPE_CHECKING:
    import pandas as pd

ORDERED_BY = "cv_val_balanced_accuracy"
# Column and metric; those that no run has are omitted.
SCORES = {
    "balanced accuracy": "cv_balanced_accuracy",
    "many": "cv_accuracy_many",
    "medium": "cv_accuracy_medium",
    "few": "cv_accuracy_few",
    "worst class": "cv_worst_class_recall",
    "macro-F1": "cv_macro_f1",
    "ECE": "cv_ece",
    "prior plain": "cv_prior_accuracy",
    "prior corrected": "cv_prior_accuracy_corrected",
}


@dataclass(frozen=True, eq=False)
class MethodFolds:
    """Results of one method over all folds.

    Attributes:
        method: Its name.
        metrics: Metrics of the cross-validation's run, under the schema's names.
        correct: Held-out items that it got right, ``(n_repeats, n_items)``, in the same item order everywhere.
        folds: Fold that held out each item, of the same shape.
        labels: Class of each item, ``(n_items,)``.
    """

    method: str
    metrics: Mapping[str, float]
    correct: NDArray[np.bool_]
    folds: NDArray[np.int64]
    labels: NDArray[np.str_]


def build_folds_table(methods: Sequence[MethodFolds]) -> "pd.DataFrame":
    """Return one row per method, best on the validation images within the training parts first.

    Columns are ``method``, ``val balanced accuracy``, for each score its mean over folds and the limits of its
    interval, ``gain`` over ``none`` in balanced accuracy with its interval, its p value before and after Holm, and
    ``fit s``.
    """
    import pandas as pd

    base = next((one for one in methods if one.method == BASELINE), None)
    gains = {one.method: _gain(one, base) for one in methods}
    compared = [method for method, gain in gains.items() if gain is not None]
    adjusted = dict(
        zip(compared, holm([getattr(gains[method], "p_value", math.nan) for method in compared]), strict=True)
    )
    rows = [_row(one) | _gain_columns(gains[one.method], adjusted.get(one.method, math.nan)) for one in methods]
    return pd.DataFrame(rows).sort_values("val balanced accuracy", ascending=False, ignore_index=True)


def _gain(one: MethodFolds, base: MethodFolds | None) -> SeededDifference | None:
    if base is None or one is base:
        return None
    return cross_validated_difference(one.correct, base.correct, one.folds, classes=one.labels)


def _row(one: MethodFolds) -> dict[str, Any]:
    row: dict[str, Any] = {"method": one.method, "val balanced accuracy": one.metrics.get(ORDERED_BY, math.nan)}
    for title, metric in SCORES.items():
        if metric in one.metrics:
            ends = {f"{title} {end}": one.metrics.get(f"{metric}_ci_{end}", math.nan) for end in ("low", "high")}
            row |= {title: one.metrics[metric]} | ends
    return row | {"fit s": one.metrics.get("time/fit_s", math.nan)}


def _gain_columns(gain: SeededDifference | None, adjusted: float) -> dict[str, float]:
    found = gain or SeededDifference(math.nan, UNKNOWN, math.nan, 0, 0)
    low, high = found.interval
    return {"gain": found.difference, "gain low": low, "gain high": high, "p": found.p_value, "p Holm": adjusted}


def folds_markdown(table: "pd.DataFrame", heading: str, n_folds: int, repeats: int, failures: Mapping[str, str]) -> str:
    """Return the table as Markdown, with notes on how to read it.

    Args:
        table: Result of ``build_folds_table``.
        heading: First line.
        n_folds: Number of folds in one repeat.
        repeats: Number of repeats.
        failures: Reasons by name for methods that did not finish.
    """
    shown = [title for title in SCORES if title in table]
    titles = ["method", *shown, f"gain over {BASELINE}", "95 % interval", "p (Holm)", "fit s"]
    lines = [f"## {heading}", "", *markdown_table(titles, [_cells(row, shown) for row in table.to_dict("records")])]
    lines += [
        "",
        f"Cross-validation, {repeats} x {n_folds} folds: means over folds, ordered by balanced accuracy on validation",
        f"images from the training folds. gain: balanced accuracy minus that of `{BASELINE}` on the same folds, with "
        f"the",
        "corrected resampled t interval and test (Nadeau and Bengio), or Tango's over images if that is wider;",
        "p after Holm's correction over methods.",
    ]
    if failures:
        lines += ["", "Methods that failed:", ""] + [f"- {name}: {reason}" for name, reason in failures.items()]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[Hashable, Any], shown: Sequence[str]) -> list[str]:
    scores = ["-" if math.isnan(row[title]) else f"{row[title]:.3f}" for title in shown]
    if math.isnan(row["gain"]):
        gain = ["-", "-", "-"]
    else:
        p_value = "< 0.001" if row["p Holm"] < 0.001 else f"{row['p Holm']:.3f}"
        gain = [f"{row['gain']:+.3f}", f"{row['gain low']:+.3f} to {row['gain high']:+.3f}", p_value]
    return [str(row["method"]), *scores, *gain, f"{row['fit s']:.2f}"]
