"""Backbones with equal settings."""

from functools import partial

import pandas as pd

from analysis.cells import frozen_or_tuned, variants
from analysis.illustration import scores_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow


def backbones(frame: pd.DataFrame) -> Table | None:
    """Return scores per backbone for every setting with several backbones, which compete within it."""
    cells = frozen_or_tuned(frame)
    # A comparison of backbones is unfair if settings differ in more than the backbone.
    cells = cells.assign(
        setting_but_backbone=variants(cells.drop(columns="config.backbone", errors="ignore"), ["head", "strategy"])
    )
    within = ["head", "strategy", "setting_but_backbone"]
    n_backbones = cells.groupby(within)["backbone"].transform("nunique")
    cells = cells[n_backbones > 1]
    labels = [Column("head", "head"), Column("strategy", "trained layers"), Column(within[-1], "parameters")]
    if not (cells[within[-1]] != "").any():
        cells = cells.drop(columns=within.pop())
        labels.pop()
    question = Question(
        ROW.name,
        ROW.question,
        (*labels, Column("backbone", "backbone")),
        within=tuple(within),
        notes=("Settings that were run on only one backbone are omitted.",),
    )
    return answer(question, cells)


ROW = TableRow(
    "backbones",
    "Which backbone is best for each head or fine-tuning?",
    needs="finished runs of one head on two backbones",
    build=backbones,
    chart=partial(scores_chart, coloured_by="backbone"),
)
