"""The report as one HTML page that needs nothing beside it: style, data, charts and plotly.js are in it."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.charts import Chart
from analysis.interactive import spec
from analysis.links import RunLinks
from analysis.render import to_csv, to_html, to_latex, to_markdown
from analysis.table import Table

TEMPLATES = Path(__file__).parent / "templates"
MEDIA_TYPES = {"CSV": ("csv", "text/csv"), "Markdown": ("md", "text/markdown"), "LaTeX": ("tex", "application/x-tex")}
HOW_TO_READ = (
    "A row is what its first columns say, over all its seeds: mean ± sample standard deviation, and below it the 95 % "
    "interval, of test accuracies over other seeds and other test images together; where a pointer rests on it, it "
    "names both parts. With one seed there is no deviation, and the interval is over the split's images.",
    "Bold marks a score that is separated from every other of its column: the intervals of the paired differences do "
    "not hold 0 after Holm's correction. Where nothing is bold, a note names the rows that cannot be excluded as the "
    "best.",
    "“n too small” stands where a test could not find a difference, however large: the exact Wilcoxon test "
    "needs six pairs. It is not a tie.",
    "Choices within runs (hyperparameters, epochs) and the order of rows rest on validation; each run read the test "
    "images once, at its end. Who picks the next experiment by test scores chooses on test.",
    "Each number is a link to its runs in MLflow, as long as MLflow is served at the address above. There stand the "
    "parameters, the digest of the data and the predictions behind it.",
    "Weights named random are random networks, not pretrained ones. They tell how the parts compare on them, not how "
    "good a pretrained backbone is.",
)


@dataclass(frozen=True)
class Section:
    """A table and the chart above it."""

    table: Table
    chart: Chart | None


def render_page(
    title: str,
    facts: Sequence[str],
    sections: Sequence[Section],
    missing: Sequence[str],
    links: RunLinks,
    audits: Mapping[str, str] | None = None,
) -> str:
    """Return the page.

    Args:
        title: Its heading.
        facts: What the numbers rest on; small lines below the heading.
        sections: Tables and charts, in this order.
        missing: What is missing or unfair.
        links: Where runs are shown.
        audits: Pages of the audits' runs by what they say of which data; empty addresses are no links.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    charts = {section.table.name: spec(section.chart) for section in sections if section.chart}
    return environment.get_template("report.html.j2").render(
        title=title,
        facts=facts,
        audits=dict(audits or {}),
        sections=[_section(section, links) for section in sections],
        how_to_read=HOW_TO_READ,
        missing=missing or ["Nothing was found to be missing."],
        charts=_json(charts) if charts else "",
        plotly=_plotly_js() if charts else "",
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
        "table": Markup(to_html(table, links.url)),  # every cell is escaped there
        "notes": table.notes,
        "files": files,
    }


def _data_url(text: str, media_type: str) -> str:
    return f"data:{media_type};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _json(value: object) -> Markup:
    # A name that holds </script> must not end the script.
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))


def _plotly_js() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())
