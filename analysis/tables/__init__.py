"""The comparison tables: one file each, with a row that has its question, builder, chart and requirements."""

import pandas as pd

from analysis.cells import split_by_dataset
from analysis.charts import Chart
from analysis.table import Table
from analysis.tables import (
    ablation,
    backbones,
    confusions,
    cost,
    cross_validation,
    datasets,
    few_shot,
    heads,
    leaderboard,
    longtail,
    mistakes,
    repairs,
    robustness,
    slices,
    strategies,
    tuning,
    twins,
    unlike,
)
from analysis.tables.row import TableRow
from resnet_mlflow.registry import Registry

# In the order of the report.
TABLES: Registry[TableRow] = Registry(
    "table",
    leaderboard.ROW,
    cost.ROW,
    confusions.ROW,
    mistakes.ROW,
    backbones.ROW,
    heads.ROW,
    strategies.ROW,
    ablation.ROW,
    longtail.ROW,
    cross_validation.ROW,
    robustness.TIERS_ROW,
    robustness.FAMILIES_ROW,
    robustness.TAIL_ROW,
    unlike.ROW,
    twins.ROW,
    slices.ROW,
    few_shot.ROW,
    tuning.ROW,
    datasets.ROW,
    repairs.ROW,
)


def build_all(name: str, frame: pd.DataFrame) -> list[Table]:
    """Return a table for each dataset digest that has runs for it.

    Args:
        name: One of ``TABLES``.
        frame: Runs on any number of datasets.
    """
    row = TABLES.find(name)
    frames = [frame] if row.over_datasets else split_by_dataset(frame).values()
    return [table for own in frames if (table := row(own)) is not None]


def row_of(table: Table) -> TableRow:
    """Return the registry row of a table; if there are several datasets, its name contains that of its dataset."""
    return TABLES[table.name.split("-")[0]]


def chart_of(table: Table) -> Chart | None:
    """Return the chart above a table; None if a chart would show no more than the table."""
    return None if len(table.frame) < 2 else row_of(table).chart(table)
