"""Scores with and without the test images that have a copy or near-duplicate in train, if an audit was run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import VARIANT, frozen_or_tuned, score_rows
from analysis.intervals import HELD_OUT, interval_columns
from analysis.separation import MissingPredictions, item_scores, runs_by_seed
from analysis.table import RUN_IDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import SeededScore, score_over_seeds
from resnet_mlflow.tracking import load_test_twins

LABELS = ("backbone", "head", "strategy")
ALL, APART = "all", "without twins"


def twins(frame: pd.DataFrame) -> Table | None:
    """Return accuracies on all test images and on those without a twin in train; nothing if the data were not audited.

    Raises:
        InputError: If the audit's table of twins cannot be read.
    """
    audits = frame[(frame["stage"] == "audit") & (frame["status"] == "FINISHED")]
    cells = frozen_or_tuned(frame)
    if audits.empty or cells.empty:
        return None
    audit = audits.iloc[0]
    ids = load_test_twins(str(audit["run_id"]))
    rows = score_rows(cells, list(LABELS), ["val/accuracy", "test/accuracy"])
    rows = rows.sort_values("val/accuracy", ascending=False, kind="stable").reset_index(drop=True)
    found = [_both_scores(rows.loc[row], ids) for row in rows.index]
    kept = [row for row, scores in enumerate(found) if scores]
    if not kept:
        return None
    scores = pd.DataFrame([found[row] for row in kept])
    table = pd.concat([rows.loc[kept, [*LABELS, VARIANT, RUN_IDS]].reset_index(drop=True), scores], axis=1)
    shown = [Column(name, name) for name in LABELS] + [Column(VARIANT, "parameters")] * bool(table[VARIANT].any())
    shown += [Column(ALL, "test accuracy", "score"), Column(APART, "without twins", "score")]
    shown += [Column("n twins", "images with a near-duplicate", "count")]
    note = (
        f"Near-duplicates found by audit run {audit['run_id']}: test images that are also in train or val, possibly "
        f"cropped, flipped, compressed, resized or recoloured. A score that falls without them was inflated by them."
    )
    return Table(ROW.name, ROW.question, table, tuple(shown), (note,))


def _both_scores(row: "pd.Series[Any]", twin_ids: NDArray[np.str_]) -> dict[str, float]:
    """Return both accuracies with their intervals; nothing if predictions are missing, or all images have twins."""
    try:
        runs = [item_scores(run_id) for run_id in runs_by_seed(row).values()]
    except MissingPredictions:
        return {}
    apart = ~np.isin(runs[0].item_ids, twin_ids)
    if not apart.any():
        return {}
    if any(not np.array_equal(one.item_ids, runs[0].item_ids) for one in runs):
        raise InputError(f"seeds must have the same test items, got other ones in {', '.join(row[RUN_IDS])}")
    correct = np.array([one.correct for one in runs])
    held_out = float(row[HELD_OUT])
    scores: Mapping[str, SeededScore] = {
        ALL: score_over_seeds(correct, held_out=held_out),
        APART: score_over_seeds(correct[:, apart], held_out=held_out),
    }
    found: dict[str, float] = {"n twins": float((~apart).sum())}
    for name, score in scores.items():
        found |= {name: score.mean, **interval_columns(name, score)}
    return found


ROW = TableRow(
    "twins",
    "How good is the score without test images that have a near-duplicate in train or val?",
    needs="finished runs of audit, and of fit_head or finetune",
    build=twins,
    chart=lambda table: None,
)
