"""A row of ``TABLES``, which describes a comparison table."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.charts import Chart
from analysis.table import Table


@dataclass(frozen=True)
class TableRow:
    """One comparison table.

    Attributes:
        name: Its name in files and on the command line; letters, digits and underscores.
        question: The question that it answers: its title.
        needs: The finished runs that it needs, as in "there are no ..." and "needs ...".
        build: Builds the table from runs of one dataset; returns None if they do not answer the question.
        chart: Returns the chart above a table of at least two rows; None if a chart would show no more.
        over_datasets: Whether it compares datasets and is built from the runs of all of them; others reject a mixture.
        filters: Columns by which a page filters the table, which can then be sorted as well; may be empty.
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
        """Return the table of runs, or None if they do not answer its question."""
        return self.build(frame)
