"""The report as one self-contained HTML page, including style, data, charts and plotly.js.

It contains the plotly.js bundle for cartesian charts, compressed: a page has at most 2 MB.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.answers import Answer
from analysis.charts import Chart
from analysis.interactive import spec
from analysis.links import RunLinks
from analysis.render import shown_columns, to_csv, to_html, to_latex, to_markdown
from analysis.table import Table

TEMPLATES = Path(__file__).parent / "templates"
# From npm's package plotly.js-cartesian-dist-min, 4.1.1.
PLOTLY = Path(__file__).parent / "vendor" / "plotly-cartesian.min.js.gz"
MEDIA_TYPES = {"CSV": ("csv", "text/csv"), "Markdown": ("md", "text/markdown"), "LaTeX": ("tex", "application/x-tex")}
HOW_TO_READ = (
    "Each row is one setting, given by its first columns, over all its seeds: mean ± sample standard deviation, and "
    "below it the 95 % interval. For test accuracies the interval covers both other seeds and other test images; "
    "hover over it to see the two parts. With one seed there is no deviation, and the interval covers other images "
    "only.",
    "Bold marks a score that is significantly better than every other score in its column: after Holm's correction, "
    "no interval of the paired differences contains 0. If nothing is bold, a note lists the rows that cannot be "
    "excluded as the best.",
    "“n too small” means that the test could not have found a difference of any size: the exact Wilcoxon test needs "
    "six pairs. It does not mean a tie.",
    "Choices within runs (hyperparameters, epochs) and the order of rows are based on validation data; each run used "
    "the test images once, at its end. If you pick your next experiment by test scores, you are selecting on test "
    "data.",
    "Each number links to its runs in MLflow, provided that MLflow is served at the address above. The runs contain "
    "the parameters, the dataset digest and the predictions behind the number.",
    "Weights named random belong to networks that were not pretrained. They show how heads and methods compare on "
    "such features, not how good a pretrained backbone is.",
)


@dataclass(frozen=True)
class Section:
    """A table, the chart above it, and the columns for filtering; with such columns it can also be sorted."""

    table: Table
    chart: Chart | None
    filters: tuple[str, ...] = ()


def render_page(
    title: str,
    facts: Sequence[str],
    sections: Sequence[Section],
    missing: Sequence[str],
    links: RunLinks,
    audits: Mapping[str, str] | None = None,
    answers: Sequence[Answer] = (),
) -> str:
    """Return the page.

    Args:
        title: Heading of the page.
        facts: What the numbers are based on; small lines below the heading.
        sections: Tables and charts, in this order.
        missing: What is missing or unfair.
        links: URLs of runs.
        audits: Pages of the audits' runs, by sentences on what they found; empty URLs give no links.
        answers: Answers based on the tables, shown above them.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    charts = {section.table.name: spec(section.chart) for section in sections if section.chart}
    return environment.get_template("report.html.j2").render(
        title=title,
        facts=facts,
        audits=dict(audits or {}),
        answers=answers,
        titles={section.table.name: section.table.title for section in sections},
        sections=[_section(section, links) for section in sections],
        how_to_read=HOW_TO_READ,
        missing=missing or ["Nothing was found missing or unfair."],
        charts=_json(charts) if charts else "",
        plotly=base64.b64encode(PLOTLY.read_bytes()).decode() if charts else "",
    )


def _section(section: Section, links: RunLinks) -> Mapping[str, object]:
    table = section.table
    texts = {"CSV": to_csv(table), "Markdown": to_markdown(table), "LaTeX": to_latex(table)}
    files = [
        {"form": form, "name": f"{table.name}.{ending}", "url": _data_url(texts[form], media_type)}
        for form, (ending, media_type) in MEDIA_TYPES.items()
    ]
    return {
        "name": table.name,
        "title": table.title,
        "chart": section.chart,
        # to_html escapes every cell.
        "table": Markup(to_html(table, links.url, sortable=bool(section.filters))),
        "sortable": bool(section.filters),
        "filters": [_filter(table, name) for name in section.filters if table.frame[name].nunique() > 1],
        "notes": table.notes,
        "files": files,
    }


def _filter(table: Table, name: str) -> Mapping[str, object]:
    """Return the data for filtering a table by a column: its position, and its values in order of appearance."""
    columns = [column.name for column in shown_columns(table, images=True)]
    place = columns.index(name)
    values = dict.fromkeys(str(value) for value in table.frame[name])
    return {"name": table.columns[place].header, "column": place, "values": [value for value in values if value]}


def _data_url(text: str, media_type: str) -> str:
    return f"data:{media_type};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _json(value: object) -> Markup:
    # A name that contains </script> must not end the script.
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
