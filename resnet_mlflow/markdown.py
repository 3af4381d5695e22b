"""Tables in Markdown whose columns also line up as plain text."""

from collections.abc import Sequence


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return the lines of a table, cells padded to their column's width.

    Args:
        titles: One per column.
        rows: Cells, as many per row as there are titles.

    Example:
        >>> print("\n".join(markdown_table(["head", "n"], [["svm", "3"]])))
        | head | n |
        | ---- | - |
        | svm  | 3 |
    """
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    return [_line(cells, widths) for cells in (titles, ["-" * width for width in widths], *rows)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
