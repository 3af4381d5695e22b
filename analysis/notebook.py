"""Tables and charts in a notebook."""

from typing import TYPE_CHECKING

from IPython.display import Image, Markdown, display

from analysis.figures import png
from analysis.render import to_markdown
from analysis.tables import TABLES, chart_of

if TYPE_CHECKING:
    import pandas as pd

    from analysis.table import Table


def show(name: str, frame: "pd.DataFrame") -> "Table | None":
    """Show a table with its chart and return it; say what it needs where there are no such runs.

    Args:
        name: One of ``TABLES``.
        frame: Runs of one dataset.
    """
    table = TABLES[name](frame)
    if table is None:
        print(f"No table {name}: there are no {TABLES[name].needs}.")
        return None
    display(Markdown(to_markdown(table)))
    if (chart := chart_of(table)) is not None:
        display(Image(png(chart)))
    return table
