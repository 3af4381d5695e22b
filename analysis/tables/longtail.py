"""Long-tail methods."""

from typing import Any

import pandas as pd

from analysis.cells import finished_cells
from analysis.illustration import group_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow

BASELINE = "none"
SCORES = (
    Column("val/balanced_accuracy", "val balanced accuracy", "score"),
    Column("test/balanced_accuracy", "test balanced accuracy", "score"),
    Column("test/accuracy_many", "many", "score"),
    Column("test/accuracy_medium", "medium", "score"),
    Column("test/accuracy_few", "few", "score"),
    Column("test/worst_class_recall", "worst class", "score"),
    Column("test/macro_f1", "macro-F1", "score"),
)


def longtail_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of single methods; runs of whole comparisons have no method."""
    cells = finished_cells(frame, "longtail")
    return cells[cells["method"].notna()].assign(profile=lambda runs: [_profile(run) for _, run in runs.iterrows()])


def longtail(frame: pd.DataFrame) -> Table | None:
    """Return scores by class size per method, and gains over ``none``; methods on the same tail compete."""
    cells = longtail_cells(frame)
    question = Question(
        ROW.name,
        ROW.question,
        tuple(Column(name, name) for name in ("profile", "backbone", "head", "strategy", "method")),
        within=("profile", "backbone", "head", "strategy"),
        scores=tuple(score for score in SCORES if score.name in cells and cells[score.name].notna().any()),
        ordered_by="val/balanced_accuracy",
        notes=(
            "many, medium and few are mean recalls of classes grouped by their number of training images; a group "
            "without classes has no score.",
            "Gain is in test balanced accuracy over the baseline none with the same seeds.",
        ),
        baseline=_baseline,
        balanced=True,
    )
    return answer(question, cells)


def _baseline(rows: pd.DataFrame, row: "pd.Series[Any]") -> int | None:
    same = rows[rows["method"] == BASELINE]
    for name in ("profile", "backbone", "head", "strategy"):
        same = same[same[name] == row[name]]
    return None if same.empty else int(same.index[0])


def _profile(run: "pd.Series[Any]") -> str:
    profile = str(run["config.profile"])
    return profile if profile == "natural" else f"{profile} {run['config.imbalance_factor']:g}"


ROW = TableRow(
    "longtail",
    "Which long-tail method helps, and for which classes?",
    needs="finished runs of longtail",
    build=longtail,
    chart=group_chart,
)
