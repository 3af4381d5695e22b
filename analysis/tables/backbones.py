"""Backbones under one setting."""

import pandas as pd

from analysis.cells import frozen_or_tuned
from analysis.questions import Question, answer
from analysis.table import Column, Table


def backbones(frame: pd.DataFrame) -> Table | None:
    """Return scores per backbone for every setting that has several, backbones of a setting competing."""
    cells = frozen_or_tuned(frame)
    n_backbones = cells.groupby(["head", "strategy"])["backbone"].transform("nunique")
    question = Question(
        "backbones",
        "Which backbone is best under one setting?",
        (Column("head", "head"), Column("strategy", "trained"), Column("backbone", "backbone")),
        within=("head", "strategy"),
        notes=("Settings that only one backbone has are left out.",),
    )
    return answer(question, cells[n_backbones > 1])
