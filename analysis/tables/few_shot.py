"""Accuracy against the number of labelled images."""

from dataclasses import replace

import pandas as pd

from analysis.cells import config_column, few_shot, finished_cells
from analysis.illustration import shots_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow


def few_shots(frame: pd.DataFrame) -> Table | None:
    """Return test accuracy per head and number of labelled images per class; nothing without such runs.

    Each seed is another sample of images, so the interval over seeds covers samples.
    """
    cells = finished_cells(frame, "fit_head")
    cells = cells[few_shot(cells)]
    cells = cells.assign(shots=config_column(cells, "shots", 0).astype(int))
    question = Question(
        ROW.name,
        ROW.question,
        (Column("backbone", "backbone"), Column("shots", "images per class", "count"), Column("head", "head")),
        within=("backbone", "shots"),
        notes=(
            "Each seed draws different images, stratified by class; smaller draws are subsets of larger ones. "
            "Validation and test are not reduced.",
        ),
    )
    table = answer(question, cells)
    if table is None:
        return None
    order = table.frame.sort_values(["backbone", "shots"], kind="stable").index
    winners = frozenset((list(order).index(row), name) for row, name in table.winners)
    return replace(table, frame=table.frame.loc[order].reset_index(drop=True), winners=winners)


ROW = TableRow(
    "few_shot",
    "How many labelled images per class does a head need?",
    needs="finished runs of fit_head with shots",
    build=few_shots,
    chart=shots_chart,
)
