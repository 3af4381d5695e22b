"""Tables and charts in a notebook; run as a program, it executes the notebooks and writes them with their results."""

from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import Image, Markdown, display

from analysis.figures import png
from analysis.render import to_markdown
from analysis.tables import TABLES, chart_of

if TYPE_CHECKING:
    import pandas as pd

    from analysis.table import Table


def show(name: str, frame: "pd.DataFrame") -> "Table | None":
    """Show a table with its chart and return it; without suitable runs, say what it needs.

    Args:
        name: One of ``TABLES``.
        frame: Runs of one dataset.
    """
    table = TABLES[name](frame)
    if table is None:
        print(f"No table {name}: it needs {TABLES[name].needs}.")
        return None
    display(Markdown(to_markdown(table)))
    if (chart := chart_of(table)) is not None:
        display(Image(png(chart)))
    return table


def write_rendered(path: Path) -> Path:
    """Run a notebook's text in the current folder, write the ``.ipynb`` with its results next to it, and return it."""
    import jupytext  # Like the import below, from the development group.
    import nbclient

    notebook = jupytext.read(path)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(Path.cwd())}}).execute()
    for number, cell in enumerate(notebook.cells):
        # With times and random ids, equal notebooks would differ.
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            # Warnings of libraries depend on the machine and contain its paths.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    target = path.with_suffix(".ipynb")
    jupytext.write(notebook, target)
    return target


if __name__ == "__main__":
    for text in sorted((Path(__file__).parent / "notebooks").glob("*.py")):
        print(write_rendered(text))
