"""What rows of a table gain over a baseline row: paired differences with their intervals."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from analysis.questions import runs_by_seed
from analysis.separation import MissingPredictions, paired_difference
from analysis.table import Column, Table
from resnet_mlflow.statistics import SeededDifference, holm

GAIN = "gain"
# From the rows and one of them to the position of the row it is compared with.
Baseline = Callable[[pd.DataFrame, "pd.Series[Any]"], int | None]


def add_gain(table: Table, baseline: Baseline, *, balanced: bool = False) -> Table:
    """Return the table with what each row gains over its baseline, with interval and p value after Holm.

    Args:
        table: Rows with ``seeds`` and ``run_ids``, at positions 0, 1, ...
        baseline: Gives the position of a row's baseline; nothing where it has none.
        balanced: Whether the gain is in balanced accuracy instead of accuracy.

    Returns:
        The table with columns ``gain``, ``gain low``, ``gain high`` and ``p Holm``; NaN where a
        row is its own baseline, or one of both has no predictions.
    """
    rows = table.frame
    found: list[SeededDifference | None] = []
    notes = list(table.notes)
    for position in range(len(rows)):
        row = rows.iloc[position]
        other = baseline(rows, row)
        if other is None or other == position:
            found.append(None)
            continue
        try:
            found.append(paired_difference(runs_by_seed(row), runs_by_seed(rows.iloc[other]), balanced=balanced))
        except MissingPredictions as error:
            notes.append(f"A gain is left out, since {error}.")
            found.append(None)
    frame = rows.copy()
    frame[GAIN] = [math.nan if gain is None else gain.difference for gain in found]
    frame[f"{GAIN} low"] = [math.nan if gain is None else gain.interval[0] for gain in found]
    frame[f"{GAIN} high"] = [math.nan if gain is None else gain.interval[1] for gain in found]
    frame["p Holm"] = holm([math.nan if gain is None else gain.p_value for gain in found])
    columns = (*table.columns, Column(GAIN, "gain", "difference"), Column("p Holm", "p (Holm)", "p_value"))
    return dataclasses.replace(table, frame=frame, columns=columns, notes=tuple(notes))
