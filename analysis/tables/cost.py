"""The cost of accuracy: time, work and size."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import VARIANT, frozen_or_tuned, score_rows
from analysis.illustration import cost_chart
from analysis.pareto import pareto_front
from analysis.questions import context_notes, seed_notes
from analysis.table import Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.backbones.complexity import backbone_complexity, is_countable

EXTRACTION = "throughput/extract_images_per_s"
LABELS = ("backbone", "head", "strategy")
COLUMNS = (
    *(Column(name, name) for name in LABELS),
    Column("val/accuracy", "val accuracy", "score"),
    Column("test/accuracy", "test accuracy", "score"),
    Column("time/fit_s", "fit s", "seconds"),
    Column("images_per_s", "extraction images/s", "number"),
    Column("parameters_m", "backbone parameters (M)", "number"),
    Column("macs_g", "MACs per image (G)", "number"),
    Column("size_mib", "backbone MiB (fp32)", "number"),
    Column("front", "on Pareto front"),
)


def cost(frame: pd.DataFrame) -> Table | None:
    """Return accuracy with fitting time (s), images per second, parameters, MACs and size, and the Pareto front.

    A row is on the Pareto front if no other row dominates it, that is, is at least as accurate on validation data with
    at most the same MACs and fitting time, and better in one of these.
    """
    cells = frozen_or_tuned(frame)
    countable = {name: is_countable(str(name)) for name in cells["backbone"].unique()}
    cells = cells[cells["backbone"].map(countable).astype(bool) & cells["image_size"].notna()]
    if cells.empty:
        return None
    rows = score_rows(cells, [*LABELS, "image_size"], ["val/accuracy", "test/accuracy", "time/fit_s"])
    found = [backbone_complexity(*pair) for pair in zip(rows["backbone"], rows["image_size"].astype(int), strict=True)]
    speed = frame[frame["stage"] == "extract"]
    rows = rows.assign(
        images_per_s=[_speed(speed, row) for _, row in rows.iterrows()],
        parameters_m=[one.n_parameters / 1e6 for one in found],
        macs_g=[one.macs / 1e9 for one in found],
        size_mib=[one.mebibytes for one in found],
    )
    front = pareto_front(-rows["val/accuracy"], rows["macs_g"], rows["time/fit_s"])
    rows = rows.assign(front=np.where(front, "yes", "")).sort_values("val/accuracy", ascending=False, kind="stable")
    notes = (
        *context_notes(cells),
        *seed_notes(rows),
        f"Image sizes: {', '.join(f'{size} px' for size in sorted(set(rows['image_size'])))}. Parameters, MACs and "
        f"size are those of the backbone; a head adds little, except that knn stores all its training features.",
        "Fit seconds exclude feature extraction, which all heads of a backbone share; times depend on the machine "
        "that ran them.",
        "On the Pareto front: no other row is at least as accurate (on validation data) at no more MACs and fit "
        "seconds.",
        *(f"Omitted: {name}, which is unknown on this machine." for name, known in countable.items() if not known),
    )
    variant = (Column(VARIANT, "parameters"),) if (rows[VARIANT] != "").any() else ()
    columns = (*COLUMNS[: len(LABELS)], *variant, *COLUMNS[len(LABELS) :])
    return Table(ROW.name, ROW.question, rows.reset_index(drop=True), columns, notes)


def _speed(extractions: pd.DataFrame, row: "pd.Series[Any]") -> float:
    same = extractions[(extractions["backbone"] == row["backbone"]) & (extractions["image_size"] == row["image_size"])]
    return float(same[EXTRACTION].median()) if EXTRACTION in same and len(same) else float("nan")


ROW = TableRow(
    "cost",
    "What does accuracy cost?",
    needs="finished runs of fit_head or finetune",
    build=cost,
    chart=cost_chart,
)
