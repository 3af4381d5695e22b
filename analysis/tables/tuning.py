"""Tuned compared with default hyperparameters."""

from typing import Any

import pandas as pd

from analysis.cells import config_column, frozen_or_tuned
from analysis.illustration import gain_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow
from analysis.tables.strategies import SCORES


def tuning(frame: pd.DataFrame) -> Table | None:
    """Return scores of tuned classifiers and of the same with default hyperparameters; nothing without tuned ones."""
    cells = frozen_or_tuned(frame)
    cells = cells.assign(trials=config_column(cells, "n_trials", 0).astype(int))
    labels = ["backbone", "head", "strategy"]
    if (cells["trials"] == 0).all():
        return None
    tuned = set(cells.loc[cells["trials"] > 0, labels].itertuples(index=False, name=None))
    kept = [row in tuned for row in cells[labels].itertuples(index=False, name=None)]
    question = Question(
        ROW.name,
        ROW.question,
        (*(Column(name, name) for name in labels), Column("trials", "trials", "count")),
        within=tuple(labels),
        scores=SCORES,
        notes=("0 trials means default parameters. Trials were chosen on validation data; gain is in test accuracy.",),
        baseline=lambda rows, row: _default_of(rows, row, labels),
    )
    return answer(question, cells[kept])


def _default_of(rows: pd.DataFrame, row: "pd.Series[Any]", labels: list[str]) -> int | None:
    same = rows[rows["trials"] == 0]
    for name in labels:
        same = same[same[name] == row[name]]
    return None if same.empty or row["trials"] == 0 else int(same.index[0])


ROW = TableRow(
    "tuning",
    "What does tuning gain over default parameters?",
    needs="finished runs with n_trials",
    build=tuning,
    chart=gain_chart,
)
