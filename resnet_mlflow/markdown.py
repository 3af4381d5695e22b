"""Tables in Markdown whose columns also line up as plain text, and means with their deviation."""

import math
import re
from collections.abc import Sequence

_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return the lines of a table, with cells padded to their column's width.

    Args:
        titles: One title per column.
        rows: Cells, as many per row as there are titles.

    Example:
        >>> print("\n".join(markdown_table(["head", "n"], [["svm", "3"]])))
        | head | n |
        | ---- | - |
        | svm  | 3 |
    """
    titles, rows = [*map(_cell, titles)], [[*map(_cell, row)] for row in rows]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    return [_line(cells, widths) for cells in (titles, ["-" * width for width in widths], *rows)]


def two_digits(number: float) -> str:
    """Return a number of 1 or more to two digits, the precision of an estimated size.

    Example:
        >>> two_digits(1234.5), two_digits(98)
        ('1,200', '98')
    """
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(int(number), -digits):,}"


def plus_minus(mean: str, std: float, digits: int) -> str:
    """Return a mean with its standard deviation; only the mean if the deviation is NaN.

    Args:
        mean: The mean as text.
        std: Its standard deviation.
        digits: Decimals of the deviation.

    Example:
        >>> plus_minus("0.950", 0.0123, 3), plus_minus("0.950", float("nan"), 3)
        ('0.950 ± 0.012', '0.950')
    """
    return mean if math.isnan(std) else f"{mean} ± {std:.{digits}f}"


def plain(text: str) -> str:
    r"""Return a text for Markdown in one line, with HTML and links disabled.

    Names of classes, runs and datasets come from outside, and MLflow's pages and browsers render Markdown.

    Example:
        >>> print(plain("<img src=x> < 0.001 [here](javascript:x)\n# new"))
        &lt;img src=x> < 0.001 [here]\(javascript:x) # new
    """
    return _TAG.sub("&lt;", " ".join(text.split("\n"))).replace("\r", " ").replace("](", "]\\(")


def _cell(text: str) -> str:
    return plain(text).replace("|", r"\|")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
