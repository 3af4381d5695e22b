"""All classifiers of a dataset in one list."""

import pandas as pd

from analysis.cells import frozen_or_tuned
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow

LABELS = (Column("backbone", "backbone"), Column("head", "head"), Column("strategy", "trained layers"))
SCORES = (
    Column("val/accuracy", "val accuracy", "score"),
    Column("test/accuracy", "test accuracy", "score"),
    Column("test/balanced_accuracy", "test balanced accuracy", "score"),
    Column("test/ece", "test ECE", "score"),
    Column("time/fit_s", "fit s", "seconds"),
)


def leaderboard(frame: pd.DataFrame) -> Table | None:
    """Return scores of every head and fine-tuning that saw all training images, the best by validation first."""
    notes = (
        "Every classifier that was trained on all training images, with its parameters, ordered by validation "
        "accuracy. "
        "Fit seconds exclude feature extraction, which all heads of a backbone share.",
    )
    return answer(Question(ROW.name, ROW.question, LABELS, scores=SCORES, notes=notes), frozen_or_tuned(frame))


ROW = TableRow(
    "leaderboard",
    "Which classifier is best?",
    needs="finished runs of fit_head or finetune",
    build=leaderboard,
    chart=lambda table: None,
    filters=tuple(column.name for column in LABELS),
)
