"""A card as Markdown, and as one self-contained HTML page."""

from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet_mlflow.cards.content import Block, Code, Facts, Figure, Missing, Pictures, Section, Table
from resnet_mlflow.cards.sections import SECTIONS
from resnet_mlflow.markdown import markdown_table, plain

TEMPLATES = Path(__file__).parent / "templates"
PAGE, TEXT = "model_card.html", "model_card.md"
NOT_MEASURED = "Not measured: "


def blocks_of(section: Section, facts: Facts) -> list[Block]:
    """Return the blocks of a section, at least one: a missing measurement is reported."""
    return list(section.write(facts)) or [Missing(NOT_MEASURED + section.otherwise)]


def title_of(facts: Facts) -> str:
    """Return the heading of a card."""
    return f"Model card: {facts.model}, version {facts.version}"


def to_page(facts: Facts) -> str:
    """Return the card as HTML; names from outside are escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    sections = [(row, blocks_of(row, facts)) for row in SECTIONS.values()]
    return environment.get_template("card.html.j2").render(
        title=title_of(facts), lead=facts.run_name, sections=sections
    )


def to_markdown(facts: Facts) -> str:
    """Return the card as Markdown; pictures are only named, and are in the HTML page."""
    lines = [f"# {plain(title_of(facts))}", "", plain(facts.run_name)]
    for row in SECTIONS.values():
        lines += ["", f"## {row.title}"]
        for block in blocks_of(row, facts):
            lines += ["", *_markdown(block)]
    return "\n".join(lines) + "\n"


def _markdown(block: Block) -> Iterator[str]:
    match block:
        case Table():
            yield from markdown_table(block.titles, block.rows)
        case Code():
            yield from ("```", *block.text.splitlines(), "```")
        case Figure():
            yield f"*{plain(block.alt)}: see {PAGE}.*"
        case Pictures():
            n = len(block.images)
            yield f"*{plain(block.title)}: {n} picture{'s' if n > 1 else ''} in {PAGE}.*"
        case Missing():
            yield f"> {plain(block.text)}"
        case _:
            yield plain(block.text)
