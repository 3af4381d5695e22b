"""Charts of tables; a table's registry row says which chart answers its question."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.charts import Chart, HeatMap, Intervals, Lines, Points, Ranks, Series
from analysis.pareto import pareto_front
from analysis.table import Column, Table

LABEL_CHARACTERS = 48
ENDS = ("", " low", " high")
# What intervals cover, by the columns with their parts.
PARTS = {"seeds": "seeds", "folds": "folds", "items": "images"}
# Heads without a training loop are fitted in less time than a clock resolves.
LEAST_SECONDS = 1e-4


def scores_chart(table: Table, coloured_by: str, name: str = "test/accuracy") -> Chart | None:
    """Return a chart with one score per row, as a dot on its interval, coloured by a column."""
    column = _column(table, name)
    if column is None:
        return None
    groups = tuple(table.frame[coloured_by].astype(str))
    axis = f"{column.header}, {coverage_of(table, name)}"
    return Intervals(table.title, axis, labels_of(table), groups, (series_of(table, column),))


def group_chart(table: Table) -> Chart | None:
    """Return a chart of the recalls of many, medium and few classes per row."""
    columns = [column for column in table.columns if column.name.startswith("test/accuracy_")]
    series = tuple(series_of(table, column) for column in columns)
    labels = labels_of(table)
    if not series:
        return None
    axis = f"mean recall of the classes, {coverage_of(table, columns[0].name)}"
    return Intervals(table.title, axis, labels, labels, series)


def gain_chart(table: Table) -> Chart | None:
    """Return a chart of each row's gain over its baseline; rows without a baseline are omitted."""
    column = next((column for column in table.columns if column.kind == "difference"), None)
    if column is None:
        return None
    labels, series = labels_of(table), series_of(table, column)
    kept = [i for i, value in enumerate(series.means) if not math.isnan(value)]
    chosen = Series(column.header, *(tuple(ends[i] for i in kept) for ends in (series.means, series.low, series.high)))
    groups = tuple(str(table.frame["head"].iloc[i]) for i in kept)
    shown = tuple(labels[i] for i in kept)
    axis = f"{column.header}, {coverage_of(table, column.name)}"
    return Intervals(table.title, axis, shown, groups, (chosen,), zero=True) if kept else None


def grid_chart(table: Table, axis: str = "test accuracy") -> Chart:
    """Return all scores of a table as a grid with the table's rows and columns."""
    columns = [column for column in table.columns if column.kind == "score"]
    values = tuple(zip(*(series_of(table, column).means for column in columns), strict=True))
    return HeatMap(table.title, axis, labels_of(table), tuple(column.header for column in columns), values)


def tier_chart(table: Table) -> Chart | None:
    """Return a chart of accuracy from clean images to strong corruption, with one line per row."""
    steps = ("clean", "mild", "medium", "strong")
    columns = [column for column in table.columns if column.header in steps]
    per_step = [series_of(table, column) for column in columns]
    if len(per_step) < 2:
        return None
    lines = [
        Series(label, *(tuple(ends[row] for ends in parts) for parts in _parts(per_step)))
        for row, label in enumerate(labels_of(table))
    ]
    positions = tuple(column.header for column in columns)
    return Lines(table.title, "corruption", f"accuracy, {coverage_of(table, columns[0].name)}", positions, tuple(lines))


def _parts(series: Sequence[Series]) -> list[list[tuple[float, ...]]]:
    return [[one.means for one in series], [one.low for one in series], [one.high for one in series]]


def shots_chart(table: Table) -> Chart | None:
    """Return a chart of accuracy against labelled images per class, with one line per head and backbone."""
    shots = sorted({int(value) for value in table.frame["shots"]})
    if len(shots) < 2:
        return None
    lines = []
    for (head, backbone), rows in table.frame.groupby(["head", "backbone"], sort=False):
        by_shots = {int(row["shots"]): row for row in rows.to_dict("records")}
        ends = (tuple(_value(by_shots.get(n, {}), f"test/accuracy{end}") for n in shots) for end in ENDS)
        lines.append(Series(f"{head} {backbone}" if table.frame["backbone"].nunique() > 1 else str(head), *ends))
    numbers = tuple(float(n) for n in shots)
    axis = "labelled images per class"
    axis_title = f"test accuracy, {coverage_of(table, 'test/accuracy')}"
    return Lines(table.title, axis, axis_title, tuple(map(str, shots)), tuple(lines), numbers)


def cost_chart(table: Table) -> Chart | None:
    """Return a chart of validation accuracy against fitting time (s)."""
    column = _column(table, "val/accuracy")
    rows = [row for row in table.frame.to_dict("records") if not math.isnan(_value(row, "time/fit_s"))]
    if column is None or len(rows) < len(table.frame):
        return None
    costs = tuple(max(_value(row, "time/fit_s"), LEAST_SECONDS) for row in rows)
    labels = tuple(
        " ".join(filter(None, (_method(row), row.get("variant", ""), f"on {row['backbone']}"))) for row in rows
    )
    scores = series_of(table, column)
    on_front = pareto_front(costs, [-mean for mean in scores.means])
    front = tuple(sorted((i for i, on in enumerate(on_front) if on), key=lambda i: costs[i]))
    axis = f"{column.header}, {coverage_of(table, column.name)}"
    return Points(table.title, "fitting time (s)", axis, labels, costs, scores, front)


def _method(row: Mapping[Any, Any]) -> str:
    return str(row["head"]) if row["strategy"] == "frozen" else f"finetune {row['strategy']}"


def rank_chart(table: Table) -> Chart:
    """Return a chart of mean ranks over datasets, with bars that join ranks that do not differ significantly."""
    names = tuple(table.frame["method"].astype(str))
    bars = list(table.frame["clique"].astype(str))
    letters = sorted(set("".join(bars)))
    cliques = (tuple(name for name, bar in zip(names, bars, strict=True) if letter in bar) for letter in letters)
    ranks = tuple(float(rank) for rank in table.frame["rank"])
    return Ranks(table.title, names, ranks, tuple(clique for clique in cliques if len(clique) > 1))


def coverage_of(table: Table, name: str) -> str:
    """Return what the intervals of a column cover: images, seeds or both; folds for a cross-validation."""
    frame = table.frame
    parts = [part for part in PARTS if f"{name} {part} low" in frame and frame[f"{name} {part} low"].notna().any()]
    covered = " and ".join(PARTS[part] for part in parts)
    return f"95 % over {covered}" if covered else "without intervals"


def series_of(table: Table, column: Column) -> Series:
    """Return a column's values and the ends of their intervals, row by row."""
    rows = table.frame.to_dict("records")
    return Series(column.header, *(tuple(_value(row, column.name + end) for row in rows) for end in ENDS))


def _value(row: Mapping[Any, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def labels_of(table: Table) -> tuple[str, ...]:
    """Return labels that distinguish the rows: the texts and counts that differ between them."""
    names = [column.name for column in table.columns if column.kind in ("text", "count") and column.name != "front"]
    telling = [name for name in names if table.frame[name].astype(str).nunique() > 1] or names[:1]
    return tuple(_shortened(" ".join(_texts(row, telling))) for row in table.frame.to_dict("records"))


def _texts(row: Mapping[Any, Any], names: Sequence[str]) -> list[str]:
    return [text for name in names if (text := str(row[name])) not in ("", "nan", "None", "<NA>")]


def _shortened(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else f"{text[: LABEL_CHARACTERS - 1]}…"


def _column(table: Table, name: str) -> Column | None:
    return next((column for column in table.columns if column.name == name), None)
