"""Fine-tuning against frozen features."""

import math
from functools import partial
from typing import Any

import pandas as pd

from analysis.cells import frozen_or_tuned
from analysis.illustration import scores_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow

TIME = Column("time/fit_s", "fit s", "seconds")
SCORES = (
    Column("val/accuracy", "val accuracy", "score"),
    Column("test/accuracy", "test accuracy", "score"),
    Column("test/balanced_accuracy", "test balanced accuracy", "score"),
    TIME,
)


def strategies(frame: pd.DataFrame) -> Table | None:
    """Return scores of a linear head on frozen features and of fine-tunings by layers, with the gains of the latter.

    Nothing unless a backbone has both.
    """
    cells = frozen_or_tuned(frame)
    cells = cells[cells["head"] == "linear"]
    n_strategies = cells.groupby("backbone")["strategy"].transform("nunique")
    question = Question(
        ROW.name,
        ROW.question,
        (Column("backbone", "backbone"), Column("strategy", "trained layers")),
        within=("backbone",),
        scores=SCORES,
        notes=("Gain is in test accuracy over the linear head on frozen features of the same backbone.",),
        baseline=_baseline,
    )
    return answer(question, cells[n_strategies > 1])


def _baseline(rows: pd.DataFrame, row: "pd.Series[Any]") -> int | None:
    same = rows[(rows["backbone"] == row["backbone"]) & (rows["strategy"] == "frozen")]
    return None if same.empty else int(same["val/accuracy"].fillna(-math.inf).idxmax())


ROW = TableRow(
    "strategies",
    "Is fine-tuning better than frozen features, and how many layers must be trained?",
    needs="finished runs of finetune, and a linear head on the same backbone",
    build=strategies,
    chart=partial(scores_chart, coloured_by="strategy"),
)
