"""Scores of the best classifier on slices of the test split."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import best_by_validation
from analysis.charts import Chart
from analysis.intervals import HELD_OUT, interval_columns
from analysis.separation import check_same_items, stored_predictions
from analysis.table import RUN_IDS, SEEDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.statistics import holm, score_over_seeds, slices_p_value
from resnet_mlflow.tracking import SLICE

LABELS = ("backbone", "head", "strategy")
ACCURACY = "test/accuracy"
COLUMNS = (
    Column("slice", "slice"),
    Column("value", "value"),
    Column("images", "images", "count"),
    Column(ACCURACY, "test accuracy", "score"),
    Column("differ", "p, slices differ (Holm)", "p_value"),
)


def slices(frame: pd.DataFrame) -> Table | None:
    """Return the scores by slice of the classifier that is best on validation data, over its seeds.

    Raises:
        InputError: If one of its runs has no predictions, or its seeds were tested on different items.
    """
    best = best_by_validation(frame, LABELS)
    if best is None:
        return None
    stored = [stored_predictions(run_id) for run_id in best[RUN_IDS]]
    known = {name: values for name, values in stored[0].known.items() if name.startswith(SLICE)}
    if not known:
        return None
    check_same_items(stored)
    correct = np.array([one.correct for one in stored])
    p_values = holm([_p_value(correct, values) for values in known.values()])
    held_out = float(best[HELD_OUT])
    rows = [
        {"slice": name.removeprefix(SLICE), "value": str(value), "differ": p}
        | _score(correct[:, values == value], held_out)
        for (name, values), p in zip(known.items(), p_values, strict=True)
        for value in np.unique(values[values != ""])
    ]
    table = pd.DataFrame(rows)
    table[RUN_IDS] = [best[RUN_IDS]] * len(table)
    return Table(ROW.name, ROW.question, table, COLUMNS, tuple(_notes(best, table)))


def _p_value(correct: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]") -> float:
    rows = values != ""
    return slices_p_value(correct[:, rows].mean(axis=0), values[rows]) if rows.any() else 1.0


def _score(correct: "np.ndarray[Any, Any]", held_out: float) -> dict[str, Any]:
    found = score_over_seeds(correct, held_out=held_out)
    means = correct.mean(axis=1)
    std = float(means.std(ddof=1)) if found.n_seeds > 1 else np.nan
    row = {"images": correct.shape[1], ACCURACY: found.mean, f"{ACCURACY} std": std, f"{ACCURACY} n": found.n_seeds}
    return row | interval_columns(ACCURACY, found)


def _notes(best: "pd.Series[Any]", table: pd.DataFrame) -> list[str]:
    seeds = f"seed{'s' * (len(best[SEEDS]) > 1)} {', '.join(map(str, best[SEEDS]))}"
    name = " ".join(str(best[name]) for name in LABELS)
    worst = table.sort_values(f"{ACCURACY} high", kind="stable").iloc[0]
    score, low, high = (worst[f"{ACCURACY}{end}"] for end in ("", " low", " high"))
    return [
        f"{name}, the best by validation accuracy ({best['val/accuracy']:.4f}); {seeds}.",
        f"Worst slice, by the upper end of its interval: {worst['slice']}={worst['value']}, {score:.4f} ({low:.4f} to "
        f"{high:.4f}) on {worst['images']:,} images.",
        "p: a permutation test of whether all slices of a column have the same accuracy, after Holm's correction over "
        "columns. Slices may differ because their classes do; images of one group are treated as independent.",
    ]


def _no_chart(table: Table) -> Chart | None:
    return None


ROW = TableRow(
    "slices",
    "How does the best classifier's accuracy differ between slices of the test images?",
    needs="finished runs of fit_head or finetune on a table with columns for slices",
    build=slices,
    chart=_no_chart,
)
