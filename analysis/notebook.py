"""Tables and charts in a notebook; as a program it runs the notebooks and writes them with their results."""

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
    """Return the ``.ipynb`` beside a notebook's text, written with the results of running it in the current folder."""
    import jupytext  # As the one below, of the development group.
    import nbclient

    notebook = jupytext.read(path)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(Path.cwd())}}).execute()
    for number, cell in enumerate(notebook.cells):
        # Times and random ids would make equal notebooks differ.
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            # What libraries warn of is of the machine, paths included.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    target = path.with_suffix(".ipynb")
    jupytext.write(notebook, target)
    return target


if __name__ == "__main__":
    for text in sorted((Path(__file__).parent / "notebooks").glob("*.py")):
        print(write_rendered(text))
