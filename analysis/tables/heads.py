"""Heads on the features of frozen backbones."""

from functools import partial

import pandas as pd

from analysis.cells import frozen_or_tuned
from analysis.illustration import scores_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow

TIME = Column("time/fit_s", "fit s", "seconds")


def heads(frame: pd.DataFrame) -> Table | None:
    """Return scores per head and frozen backbone; heads on the same backbone compete. Nothing without such runs."""
    cells = frozen_or_tuned(frame)
    question = Question(
        ROW.name,
        ROW.question,
        (Column("backbone", "backbone"), Column("head", "head")),
        within=("backbone",),
        notes=(
            "Heads on the same backbone saw the same features; bold is significantly better than every other head on "
            "that backbone.",
        ),
    )
    return answer(question, cells[cells["strategy"] == "frozen"])


ROW = TableRow(
    "heads",
    "Which head is best on frozen features?",
    needs="finished runs of fit_head",
    build=heads,
    chart=partial(scores_chart, coloured_by="head"),
)
