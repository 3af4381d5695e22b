"""What a row of ``TABLES`` says of a comparison table."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.charts import Chart
from analysis.table import Table


@dataclass(frozen=True)
class TableRow:
    """One comparison table.

    Attributes:
        name: What files and the command line call it; letters, digits and underscores.
        question: What it answers: its title.
        needs: Which finished runs answer it, as in "there are no ..." and "needs ...".
        build: Runs of one dataset to the table, or to None where they do not answer the question.
        chart: A table of two rows or more to the chart above it, or to None where a chart would tell no more.
        over_datasets: Whether it compares datasets, and so is built from the runs of all of them; others refuse to mix.
        filters: Columns by which a page filters the table, which can be sorted there, too; empty for none.
    """

    name: str
    question: str
    needs: str
    build: Callable[[pd.DataFrame], Table | None]
    chart: Callable[[Table], Chart | None]
    over_datasets: bool = False
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a table's name must consist of letters, digits and underscores, got {self.name!r}")

    def __call__(self, frame: pd.DataFrame) -> Table | None:
        """Return the table of runs, or None where they do not answer its question."""
        return self.build(frame)
