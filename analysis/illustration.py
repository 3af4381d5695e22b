"""Which chart answers a table's question."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.charts import Chart, Intervals, Series
from analysis.table import Column, Table

# What gives a line its colour: the first of these columns in which rows differ.
GROUPED_BY = ("head", "method", "strategy", "backbone")
SCORED_BY = ("test/accuracy", "test/balanced_accuracy")
LABEL_CHARACTERS = 48


def chart_of(table: Table) -> Chart | None:
    """Return the chart that stands above a table; nothing where a chart would tell no more than the table."""
    if len(table.frame) < 2:
        return None
    return CHARTS.get(table.name, scores_chart)(table)


def scores_chart(table: Table) -> Chart | None:
    """Return the rows' test scores as dots on their intervals."""
    scores = [column for column in table.columns if column.kind == "score"]
    column = next((column for name in SCORED_BY for column in scores if column.name == name), None)
    if column is None:
        return None
    return Intervals(table.title, column.header, labels_of(table), groups_of(table), (series_of(table, column),))


def series_of(table: Table, column: Column, name: str = "") -> Series:
    """Return a column's values with the ends of their intervals, row by row."""
    ends = ("", " low", " high")
    return Series(name or column.header, *(_numbers(table, column.name + end) for end in ends))


def _numbers(table: Table, name: str) -> tuple[float, ...]:
    if name not in table.frame:
        return (math.nan,) * len(table.frame)
    return tuple(math.nan if value is None else float(value) for value in table.frame[name])


def labels_of(table: Table) -> tuple[str, ...]:
    """Return what names each row: its texts, side by side."""
    names = [column.name for column in table.columns if column.kind == "text"]
    return tuple(_shortened(" ".join(_texts(row, names))) for row in table.frame.to_dict("records"))


def _texts(row: Mapping[Any, Any], names: Sequence[str]) -> list[str]:
    return [text for name in names if (text := str(row[name])) not in ("", "nan", "None", "<NA>")]


def _shortened(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"


def groups_of(table: Table) -> tuple[str, ...]:
    """Return what gives each row its colour."""
    for name in GROUPED_BY:
        if name in table.frame and table.frame[name].nunique() > 1:
            return tuple(table.frame[name].astype(str))
    return labels_of(table)


CHARTS: dict[str, Callable[[Table], Chart | None]] = {}
