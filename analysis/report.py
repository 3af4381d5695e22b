"""The report of an experiment: one HTML page, with every table and figure as files next to it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from analysis import figures
from analysis.answers import Answer, answers_of
from analysis.audits import audits_of
from analysis.cells import split_by_dataset
from analysis.links import RunLinks, ui_url_of
from analysis.page import Section, render_page
from analysis.render import slug, to_csv, to_latex, to_markdown
from analysis.runs import Runs, load_runs
from analysis.table import Table
from analysis.tables import TABLES, chart_of, row_of
from analysis.tables.row import TableRow
from analysis.warnings import warnings_of_tables
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.paths import user_path, writable_folder
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.markdown import plain
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import store_uri

PAGE, TEXT = "report.html", "report.md"
FOLDERS = ("tables", "figures")
T = TypeVar("T")
WRITERS = {"md": to_markdown, "csv": to_csv, "tex": to_latex}


@dataclass(frozen=True)
class Report:
    """The content of a report, before it is written.

    Attributes:
        title: Heading of the page.
        facts: What the numbers are based on.
        tables: The tables, in the order of ``TABLES``, dataset by dataset.
        missing: What is missing or unfair: omitted tables with the reason, and problems of runs.
        links: URLs of runs.
        audits: Runs of the latest audits, by sentences on what they found.
        answers: Answers based on the tables, in a few sentences.
    """

    title: str
    facts: tuple[str, ...]
    tables: tuple[Table, ...]
    missing: tuple[str, ...]
    links: RunLinks
    audits: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()

    def to_markdown(self) -> str:
        """Return heading, answers, facts, all tables and remarks on what is missing, as Markdown."""
        facts = [*self.facts, *(f"{finding} (run {run_id})." for finding, run_id in self.audits.items())]
        first = [f"# {plain(self.title)}\n", self.in_short()]
        return "\n".join([*first, *(f"{plain(fact)}\n" for fact in facts), self.body()])

    def in_short(self) -> str:
        """Return the answers as Markdown, one line each, with the name of its table."""
        return "".join(f"- {plain(answer.text)} (table {answer.table})\n" for answer in self.answers)

    def body(self) -> str:
        """Return the tables and remarks on what is missing, as Markdown."""
        remarks = "\n".join(f"- {plain(remark)}" for remark in self.missing)
        missing = f"## What is missing or unfair in this comparison\n\n{remarks}\n"
        return "\n".join([*map(to_markdown, self.tables), missing])


def build_report(runs: Runs, ui_url: str = "") -> Report:
    """Return the report of runs.

    Args:
        runs: As ``load_runs`` gives them.
        ui_url: URL of MLflow's pages; empty means the tracking server, or http://127.0.0.1:5000.
    """
    tables: list[Table] = []
    places: dict[str, str] = {}
    left_out: list[str] = []
    for row, place, frame in _shown_at_work(list(_parts(runs.frame)), "tables"):
        what = f"Table {row.name} on {place}" if place else f"Table {row.name}"
        try:
            table = row(frame)
        except InputError as error:
            left_out.append(f"{what} is omitted: {error}.")
            continue
        if table is None:
            left_out.append(f"{what} is omitted: it needs {row.needs}.")
        else:
            tables.append(_placed(table, place))
            places |= {tables[-1].name: place} if place else {}
    links = RunLinks(ui_url_of(store_uri(), ui_url), dict.fromkeys(runs.frame["run_id"], runs.experiment_id))
    missing = (*runs.warnings, *warnings_of_tables(tables), *left_out)
    title, facts, audits = f"Experiment {runs.experiment}", tuple(_facts(runs, links)), audits_of(runs.frame)
    return Report(title, facts, tuple(tables), missing, links, audits, tuple(answers_of(tables, places)))


def _shown_at_work(works: Sequence[T], unit: str) -> Iterator[T]:
    """Yield each part of the work while a terminal shows how many are done, and the remaining time."""
    with progress(len(works), unit, "report") as bar:
        for work in works:
            yield work
            bar.update()


def _parts(frame: pd.DataFrame) -> Iterator[tuple[TableRow, str, pd.DataFrame]]:
    """Yield each table's registry row with the runs for it, and the name of their dataset if there are several.

    Scores on different items are never compared: each dataset has its own tables.
    """
    parts = split_by_dataset(frame) or {"": frame}
    for digest, own in parts.items():
        place = f"{own['dataset'].iloc[0]} {digest[:8]}" if len(parts) > 1 else ""
        yield from ((row, place, own) for row in TABLES.values() if not row.over_datasets)
    yield from ((row, "", frame) for row in TABLES.values() if row.over_datasets)


def _placed(table: Table, place: str) -> Table:
    if not place:
        return table
    return replace(table, name=slug(f"{table.name}-{place}"), title=f"{place}: {table.title}")


def _facts(runs: Runs, links: RunLinks) -> Iterator[str]:
    frame = runs.frame
    counts = frame["stage"].value_counts()
    yield f"{len(frame):,} runs: {', '.join(f'{n:,} {stage}' for stage, n in counts.items())}."
    for what, column in (("Dataset", "dataset"), ("Backbones", "backbone"), ("Weights", "weights")):
        # So that resnet18 comes before resnet101.
        names = sorted(map(str, frame[column].dropna().unique()), key=lambda name: (len(name), name))
        shown = [name for name in names if not name.startswith("runs:/")]
        if (n_trained := len(names) - len(shown)) > 0:
            shown.append(f"{n_trained} network{'s' if n_trained > 1 else ''} trained by runs")
        if shown:
            yield f"{what}: {', '.join(shown)}."
    if len(frame):
        yield f"Runs from {frame['start'].min():%Y-%m-%d %H:%M} to {frame['start'].max():%Y-%m-%d %H:%M} UTC."
    yield f"Links point to MLflow at {links.ui_url}."


def write_report(experiment: str, output: str | Path, *, ui_url: str = "", **filters: Any) -> Path:
    """Write the report of an experiment and return its page.

    Args:
        experiment: Name of the experiment.
        output: Folder, see ``fill``; new, empty, or with an earlier report, which it replaces.
        ui_url: URL of MLflow's pages; empty means the tracking server, or http://127.0.0.1:5000.
        **filters: As ``load_runs`` takes them.

    Raises:
        InputError: If there is no such experiment, or the folder contains something else.
    """
    check_output(output)
    report = build_report(load_runs(experiment, **filters), ui_url)
    with scratch_folder() as folder:
        fill(report, folder)
        return place(folder, output)


def check_output(output: str | Path) -> None:
    """Reject a folder to which a report must not be written.

    Raises:
        InputError: If it is not a folder, or contains something other than an earlier report.
    """
    folder = user_path(str(output), "output")
    there = folder.exists()
    if there and not folder.is_dir():
        raise InputError(f"output must be a folder, got the file {str(output)!r}; name another")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise InputError(
            f"output must be new, empty, or hold an earlier report, got {str(output)!r} with other files; name another"
        )
    writable_folder(folder, "output")
    if not there:
        folder.rmdir()


def fill(report: Report, folder: Path) -> None:
    """Write a report: ``report.html``, ``report.md``, ``tables/<name>.{md,csv,tex}``, ``figures/<name>.{png,svg,pdf}``.

    Args:
        report: The report.
        folder: An empty or new folder.
    """
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    sections = [Section(table, chart_of(table), row_of(table).filters) for table in report.tables]
    for section in _shown_at_work(sections, "charts"):
        for ending, write in WRITERS.items():
            (folder / "tables" / f"{section.table.name}.{ending}").write_text(write(section.table), encoding="utf-8")
        if section.chart is not None:
            figures.save(section.chart, folder / "figures", section.table.name)
    (folder / TEXT).write_text(report.to_markdown(), encoding="utf-8")
    audits = {finding: report.links.url([run_id]) for finding, run_id in report.audits.items()}
    page = render_page(report.title, report.facts, sections, report.missing, report.links, audits, report.answers)
    (folder / PAGE).write_text(page, encoding="utf-8")


def place(written: Path, output: str | Path) -> Path:
    """Copy a written report to a folder, replacing an earlier one, and return its page."""
    check_output(output)
    folder = user_path(str(output), "output")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(written / name, folder / name)
    # The page is replaced last, and atomically: if it is new, everything else is.
    for name in (TEXT, PAGE):
        copy = shutil.copyfile(written / name, folder / f".{name}.part")
        copy.replace(folder / name)
    return folder / PAGE
