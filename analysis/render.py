"""Tables as text: the format of numbers, in one place, and the four formats of a table."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from typing import Any

from analysis.table import RUN_IDS, Column, Table
from resnet_mlflow.csv_text import csv_of as csv_of
from resnet_mlflow.markdown import markdown_table, plain, plus_minus

NOTHING = "-"
SLUG_CHARACTERS = 80
# Suffixes of the columns that accompany a mean in the frame.
PARTS = ("std", "n", "low", "high")
# The parts of an interval over both: shown in the CSV, and in the page on hover.
INTERVAL_PARTS = {"seeds": "over seeds", "items": "over images"}
MORE_PARTS = tuple(f"{part} {end}" for part in INTERVAL_PARTS for end in ("low", "high"))
# Digits after the decimal point; for other kinds they depend on the size of the value.
DECIMALS: Mapping[str, int] = {"score": 4, "difference": 4, "p_value": 3, "count": 0}
# Smaller positive values are written as "< least".
LEAST: Mapping[str, float] = {"p_value": 0.001, "seconds": 0.01, "number": 0.001}
# Times depend on machine and load as well as on the seed: their spread over seeds is only in the CSV.
WITH_DEVIATION = ("score", "difference", "number")
WITH_INTERVAL = ("score", "difference")
# Characters with a meaning in LaTeX, and those that its usual fonts lack.
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "…": r"\ldots{}",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One formatted value.

    Attributes:
        value: The number, with its standard deviation if there is one; or a text.
        interval: The ends of its 95 % interval; empty if there is none.
        parts: The intervals over seeds and over images, in words; empty if there is only one part.
        number: The value with all digits; NaN for a text.
        bold: Whether it is significantly better than every other value of its column.
        run_ids: Runs behind the value.
    """

    value: str
    interval: str = ""
    bold: bool = False
    run_ids: tuple[str, ...] = ()
    parts: str = ""
    number: float = math.nan

    @property
    def text(self) -> str:
        """Return value and interval in one line."""
        return f"{self.value} ({self.interval})" if self.interval else self.value


def format_value(value: Any, kind: str) -> str:
    """Return a value in the format of all tables and figures.

    Args:
        value: A number, or a text, which stays as it is.
        kind: A ``Column.kind``.

    Example:
        >>> [format_value(0.95, kind) for kind in ("score", "difference", "seconds", "number")]
        ['0.9500', '+0.9500', '0.95', '0.950']
        >>> format_value(11_689_512, "count"), format_value(2e-5, "p_value"), format_value(float("nan"), "score")
        ('11,689,512', '< 0.001', '-')
    """
    if value is None or value == "" or value != value:
        return NOTHING
    if isinstance(value, str) or kind in ("text", "image"):
        return str(value)
    number = float(value)
    if 0 < number < LEAST.get(kind, 0):
        return f"< {LEAST[kind]:g}"
    sign = "+" if kind == "difference" else ""
    return f"{number:{sign},.{_decimals(number, kind)}f}"


def _decimals(value: float, kind: str) -> int:
    if kind in DECIMALS:
        return DECIMALS[kind]
    most = 2 if kind == "seconds" else 3
    return max(0, most - sum(abs(value) >= edge for edge in (10, 100, 1000)))


def format_interval(low: float, high: float, kind: str) -> str:
    """Return the ends of an interval; empty if they are unknown.

    Example:
        >>> format_interval(-0.01, 0.02, "difference")
        '-0.0100 to +0.0200'
    """
    return "" if math.isnan(low) or math.isnan(high) else f"{format_value(low, kind)} to {format_value(high, kind)}"


def shown_columns(table: Table, *, images: bool = False) -> tuple[Column, ...]:
    """Return a table's columns, without images if these cannot be shown, followed by the number of seeds."""
    shown = [column for column in table.columns if images or column.kind != "image"]
    counted = [f"{column.name} n" for column in shown if f"{column.name} n" in table.frame]
    return (*shown, *(Column(name, "n", "count") for name in counted[:1]))


def cells(table: Table, *, images: bool = False) -> list[list[Entry]]:
    """Return a table's formatted cells, row by row, one per shown column."""
    rows, columns = table.frame.to_dict("records"), shown_columns(table, images=images)
    return [
        [_cell(row, column, (position, column.name) in table.winners) for column in columns]
        for position, row in enumerate(rows)
    ]


def _cell(row: Mapping[Any, Any], column: Column, bold: bool) -> Entry:
    value = format_value(row[column.name], column.kind)
    if value == NOTHING or column.kind in ("text", "image"):
        return Entry(value)
    std, n, low, high = (_part(row, column.name, part) for part in PARTS)
    if column.kind in WITH_DEVIATION and n > 1:
        value = plus_minus(value, std, _decimals(row[column.name], column.kind))
    interval = format_interval(low, high, column.kind) if column.kind in WITH_INTERVAL else ""
    run_ids = row.get(f"{column.name} {RUN_IDS}", row.get(RUN_IDS, ()))
    number = math.nan if isinstance(row[column.name], str) else float(row[column.name])
    return Entry(value, interval, bold, tuple(run_ids), _parts_in_words(row, column), number)


def _parts_in_words(row: Mapping[Any, Any], column: Column) -> str:
    parts = []
    for part, words in INTERVAL_PARTS.items():
        low, high = (_part(row, column.name, f"{part} {end}") for end in ("low", "high"))
        if text := format_interval(low, high, column.kind):
            parts.append(f"{words} {text}")
    return "; ".join(parts) if len(parts) > 1 else ""


def _part(row: Mapping[Any, Any], name: str, part: str) -> float:
    value = row.get(f"{name} {part}")
    return math.nan if value is None else float(value)


def to_markdown(table: Table, *, intervals: bool = True) -> str:
    """Return the table as Markdown whose columns also line up as plain text, under its title, with its notes.

    Args:
        table: The table.
        intervals: Whether intervals follow their means; without them a table may fit a terminal.
    """
    rows = [[_markdown(cell, intervals) for cell in row] for row in cells(table)]
    lines = [f"## {plain(table.title)}", "", *markdown_table([column.header for column in shown_columns(table)], rows)]
    if table.notes:
        lines += ["", *(f"- {plain(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown(cell: Entry, intervals: bool) -> str:
    text = cell.text if intervals else cell.value
    return f"**{text}**" if cell.bold else text


def to_csv(table: Table) -> str:
    """Return the table as CSV: numbers with all digits, deviations, counts, interval ends and run ids as columns."""
    shown = [column.name for column in table.columns if column.kind != "image"]
    names = [name for column in shown for name in (column, *(f"{column} {part}" for part in (*PARTS, *MORE_PARTS)))]
    run_ids = [name for name in table.frame.columns if str(name).endswith(RUN_IDS)]
    frame = table.frame[[name for name in names if name in table.frame.columns] + run_ids].copy()
    for name in run_ids:
        frame[name] = [" ".join(ids) for ids in frame[name]]
    return csv_of(frame)


def to_latex(table: Table) -> str:
    r"""Return the table as LaTeX for the package booktabs, with a caption and the label ``tab:<name>``."""
    alignment = "".join("l" if column.kind == "text" else "r" for column in shown_columns(table))
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}}}",
        rf"\label{{tab:{slug(table.name)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row([latex_escape(column.header) for column in shown_columns(table)]),
        r"\midrule",
        *(_latex_row([_latex(cell) for cell in row]) for row in cells(table)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if table.notes:
        lines += [r"\par\smallskip\footnotesize", *(latex_escape(note) + r"\\" for note in table.notes)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_escape(text: str) -> str:
    r"""Return a text escaped so that LaTeX prints it unchanged.

    Example:
        >>> print(latex_escape("50_% ± 1"))
        50\_\% $\pm$ 1
    """
    shown = (character if character.isprintable() else " " for character in text)
    return "".join(LATEX.get(character, character) for character in shown)


def slug(text: str) -> str:
    """Return a name for files and labels: letters, digits, points and hyphens, short enough for any file system.

    Example:
        >>> slug("backbones-../../birds 3f1c"), len(slug("x" * 300))
        ('backbones-..-..-birds-3f1c', 80)
    """
    plain_text = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    if len(plain_text) <= SLUG_CHARACTERS:
        return plain_text
    return f"{plain_text[: SLUG_CHARACTERS - 9]}-{blake2b(text.encode(), digest_size=4).hexdigest()}"


def _latex(cell: Entry) -> str:
    # Text such as resnet18-v2 keeps its hyphens.
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", latex_escape(cell.text))
    # \boldmath, because \textbf does not affect formulas.
    return rf"\textbf{{\boldmath {text}}}" if cell.bold else text


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def to_html(table: Table, url_of: Callable[[Sequence[str]], str], *, sortable: bool = False) -> str:
    """Return the table as HTML, each number a link to the runs behind it.

    Roles are explicit although elements imply them: browsers drop the implied ones if a narrow window shows rows as
    cards, with each cell next to its column's header.

    Args:
        table: The table.
        url_of: Returns the URL that shows runs; empty if they cannot be shown.
        sortable: Whether headers are buttons and cells contain numbers with all digits, for a script that sorts rows.
    """
    columns = shown_columns(table, images=True)
    head = "".join(
        f'<th scope="col" role="columnheader"{_class(column)}>{_header(column, sortable)}</th>' for column in columns
    )
    rows = (zip(row, columns, strict=True) for row in cells(table, images=True))
    body = "".join(
        f'<tr role="row">{"".join(_html(*pair, i == 0, url_of, sortable) for i, pair in enumerate(row))}</tr>\n'
        for row in rows
    )
    thead = f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
    return f'<table role="table">\n{thead}\n<tbody role="rowgroup">\n{body}</tbody>\n</table>'


def _header(column: Column, sortable: bool) -> str:
    return f'<button type="button">{escape(column.header)}</button>' if sortable else escape(column.header)


def _class(column: Column) -> str:
    return "" if column.kind in ("text", "image") else ' class="number"'


def _html(
    cell: Entry, column: Column, first: bool, url_of: Callable[[Sequence[str]], str], sortable: bool = False
) -> str:
    text, attributes = escape(cell.value), f' role="cell" data-label="{escape(column.header)}"'
    if column.kind == "image" and cell.value != NOTHING:
        return f'<td{attributes}><img alt="" src="data:image/jpeg;base64,{text}"></td>'
    if cell.bold:
        text = f"<b>{text}</b>"
    if cell.run_ids and (url := url_of(cell.run_ids)):
        text = f'<a href="{escape(url)}">{text}</a>'
    if cell.interval:
        title = f' title="{escape(cell.parts)}"' if cell.parts else ""
        text += f"<small{title}>{escape(cell.interval)}</small>"
    number = f' data-value="{cell.number!r}"' if sortable and not math.isnan(cell.number) else ""
    if first:
        return f'<th scope="row" role="rowheader">{text}</th>'
    return f"<td{attributes}{_class(column)}{number}>{text}</td>"
