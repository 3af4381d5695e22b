"""What rows of a table gain over a baseline row: paired differences with their intervals."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.best import doubt_about, name_of
from analysis.intervals import HELD_OUT, NOTHING, PARTS
from analysis.separation import TESTS, MissingPredictions, paired_difference, runs_by_seed
from analysis.table import Column, Doubt, Table
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
        The table with columns ``gain``, ``gain low`` and ``gain high`` (seeds and items together), the same of its
        parts (``gain seeds low``, ``gain items low``), and ``p Holm``; NaN where a row is its own baseline, or one of
        both has no predictions.
    """
    rows = table.frame
    found: list[SeededDifference | None] = []
    claims: list[str] = []
    notes = [note for note in table.notes if note != TESTS] + [TESTS]
    for position in range(len(rows)):
        row = rows.iloc[position]
        other = baseline(rows, row)
        claims.append(f"{name_of(rows, position)} over {name_of(rows, position if other is None else other)}")
        if other is None or other == position:
            found.append(None)
            continue
        try:
            runs, others = runs_by_seed(row), runs_by_seed(rows.iloc[other])
            found.append(paired_difference(runs, others, balanced=balanced, held_out=float(row[HELD_OUT])))
        except MissingPredictions as error:
            notes.append(f"A gain is left out, since {error}.")
            found.append(None)
    frame = rows.copy()
    frame[GAIN] = [math.nan if gain is None else gain.difference for gain in found]
    for part, name in PARTS.items():
        ends = [NOTHING if gain is None else getattr(gain, name) for gain in found]
        frame[f"{GAIN}{part} low"], frame[f"{GAIN}{part} high"] = zip(*ends, strict=True)
    frame["p Holm"] = holm([math.nan if gain is None else gain.p_value for gain in found])
    columns = (*table.columns, Column(GAIN, "gain", "difference"), Column("p Holm", "p (Holm)", "p_value"))
    # What such a table claims is its gains, not the lead of its best row.
    doubts = tuple(_doubts(claims, found, float(rows[HELD_OUT].max()) if len(rows) else 0.0))
    return dataclasses.replace(table, frame=frame, columns=columns, notes=tuple(notes), doubts=doubts)


def _doubts(claims: Sequence[str], found: Sequence[SeededDifference | None], held_out: float) -> Iterator[Doubt]:
    """Yield the gains above 0 whose intervals hold 0."""
    n_gains = sum(gain is not None for gain in found)
    for claim, gain in zip(claims, found, strict=True):
        if gain is not None and gain.difference > 0 >= gain.interval[0]:
            yield doubt_about(claim, gain, n_gains, held_out)
