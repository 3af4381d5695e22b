"""Cross-validated configurations: scores over folds, in a table of their own."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.best import best_note
from analysis.cells import VARIANT, cross_validated_cells, variants
from analysis.illustration import scores_chart
from analysis.questions import Separation, competing, context_notes
from analysis.resampling import COMPARED, TESTS, compare_divided
from analysis.separation import winner_of
from analysis.table import RUN_IDS, SEEDS, Column, Doubt, Table
from analysis.tables.row import TableRow
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import Pair, needed_over_folds

ORDERED_BY = "cv_val_accuracy"
ACCURACY = "cv_accuracy"
LABELS = ("division", "training", "backbone", "head", "strategy", "method")
# Rows compete if folds and training images are the same.
WITHIN = ("division", "training")
SCORES = (
    Column(ORDERED_BY, "val accuracy", "number"),
    Column(ACCURACY, "accuracy", "score"),
    Column("cv_balanced_accuracy", "balanced accuracy", "score"),
    Column("cv_nll", "NLL", "number"),
    Column("cv_ece", "ECE", "score"),
    Column("time/fit_s", "fit s", "seconds"),
)


def cross_validation(frame: pd.DataFrame) -> Table | None:
    """Return scores over folds per configuration; those on the same folds compete. Nothing without such runs."""
    cells = cross_validated_cells(frame)
    cells = cells[~((cells["stage"] == "longtail") & cells["method"].isna())]
    if cells.empty:
        return None
    cells = cells.assign(division=cells.apply(_division, axis=1), training=cells.apply(_training, axis=1))
    cells = cells.sort_values([*WITHIN, ORDERED_BY], ascending=[True, True, False], kind="stable").reset_index(
        drop=True
    )
    rows = _rows(cells)
    found = _separation(rows, cells["config.folds"].astype(int).tolist())
    shown = [Column(name, name) for name in LABELS if (rows[name] != "").any()]
    if (rows[VARIANT] != "").any():
        shown.append(Column(VARIANT, "parameters"))
    scores = tuple(column for column in SCORES if column.name in rows)
    notes = (*_notes(cells), *found.notes, TESTS)
    return Table(ROW.name, ROW.question, rows, (*shown, *scores), notes, found.winners, found.doubts, found.pairs)


def _division(run: "pd.Series[Any]") -> str:
    return f"{int(run['config.repeats'])} x {int(run['config.folds'])} folds, seed {int(run['seed'])}"


def _training(run: "pd.Series[Any]") -> str:
    """Return how training parts are reduced; nothing if they are complete."""
    if run["stage"] == "longtail" and run["config.profile"] != "natural":
        return f"{run['config.profile']} {run['config.imbalance_factor']:g}"
    shots = run.get("config.shots")
    return "" if shots is None or pd.isna(shots) or not shots else f"{int(shots)} shots"


def _rows(cells: pd.DataFrame) -> pd.DataFrame:
    rows = cells[list(LABELS)].fillna("").astype(str)
    rows[VARIANT] = variants(cells, LABELS)
    for name in (column.name for column in SCORES if column.name in cells):
        rows[name] = cells[name].astype(float)
        for end in ("low", "high"):
            if f"{name}_ci_{end}" in cells:
                # The only interval is that over folds.
                rows[f"{name} {end}"] = rows[f"{name} folds {end}"] = cells[f"{name}_ci_{end}"].astype(float)
    rows[SEEDS] = [[int(seed)] for seed in cells["seed"]]
    rows[RUN_IDS] = [[run_id] for run_id in cells["run_id"]]
    return rows


def _separation(rows: pd.DataFrame, folds: list[int]) -> Separation:
    """Return the scores that are significantly better than all their competitors, and notes on the others."""
    winners: set[tuple[int, str]] = set()
    notes: list[str] = []
    doubts: list[Doubt] = []
    compared: list[Pair] = []
    named = rows.drop(columns=list(WITHIN))
    for place, positions in competing(rows, WITHIN):
        run_ids = [rows[RUN_IDS].iloc[row][0] for row in positions]
        need = partial(needed_over_folds, n_folds=folds[positions[0]])
        for metric, balanced in COMPARED.items():
            try:
                pairs = compare_divided(run_ids, balanced=balanced)
            except InputError as error:
                notes.append(f"{place}nothing is bold: {error}.")
                break
            winner = winner_of(len(positions), pairs)
            if winner is not None:
                winners.add((positions[winner], metric))
            if metric != ACCURACY:
                continue
            compared += [replace(one, first=positions[one.first], second=positions[one.second]) for one in pairs]
            shown = {(one.first, one.second): one.adjusted_p for one in pairs}
            if winner is None and (note := best_note(place, named, positions, pairs, metric, shown, need)):
                notes.append(note[0])
                doubts.append(note[1])
    return Separation(frozenset(winners), tuple(notes), tuple(doubts), tuple(compared))


def _notes(cells: pd.DataFrame) -> Iterator[str]:
    yield from context_notes(cells)
    yield (
        "Means over folds; every image was predicted once per repeat by a classifier that had not seen it. 95 % "
        "intervals are corrected resampled t intervals, never narrower than for the same number of independent "
        "images. Rows are ordered by accuracy on validation images from the training folds, on which configurations "
        "are chosen."
    )
    yield (
        "Folds train on fewer images than a fixed split or the full dataset, so these scores appear in no other table."
    )


ROW = TableRow(
    "cross_validation",
    "How good is each method in cross-validation?",
    needs="finished runs with folds",
    build=cross_validation,
    chart=partial(scores_chart, coloured_by="head", name=ACCURACY),
)
