"""Stage `compare`: the report of an experiment, logged as a run."""

import logging
from pathlib import Path

from analysis.render import to_markdown
from analysis.report import Report, build_report, check_output, fill, place
from analysis.runs import load_runs
from resnet_mlflow.config import CompareConfig
from resnet_mlflow.tracking import connect, current_experiment, stage_run

logger = logging.getLogger(__name__)

# MLflow's notes are limited to 8000 characters.
NOTE_CHARACTERS = 7500
ARTIFACTS = "report"


def report_here(output: str) -> Path:
    """Write the report of the current experiment, and return its page."""
    connect()
    return run_compare(CompareConfig(experiment=current_experiment(), output=output), tables=False)


def run_compare(config: CompareConfig, *, tables: bool = True) -> Path:
    """Write the report of an experiment, log it, and return its page; print the answers and the first table.

    Args:
        config: The experiment, and the output folder.
        tables: Whether the first table is printed as well.

    Raises:
        InputError: If there is no such experiment, the store cannot be reached, or the folder contains something else.
    """
    check_output(config.output)
    runs = load_runs(
        config.experiment,
        dataset=config.dataset,
        tags=config.tag_values,
        since=config.since,
        until=config.until,
        parent=config.parent,
    )
    tags = {"experiment": config.experiment} | ({"dataset": config.dataset} if config.dataset else {})
    with stage_run("compare", config, f"compare {config.experiment}", tags) as run:
        report = build_report(runs, config.ui_url)
        with run.artifacts() as folder:
            fill(report, folder / ARTIFACTS)
            page = place(folder / ARTIFACTS, config.output)
        run.log_note(_note(report))
        counts = {"runs": len(runs.frame), "tables": len(report.tables), "remarks": len(report.missing)}
        run.log_metrics({f"report/n_{what}": float(count) for what, count in counts.items()})
    print(report.in_short(), end="")
    if tables:
        print()
        for table in report.tables[:1]:
            print(to_markdown(table, intervals=False))
    for remark in report.missing:
        # Whoever made the runs knows for which tables there are none.
        is_absent = remark.startswith("Table ") and " is omitted: it needs " in remark
        logger.log(logging.DEBUG if is_absent else logging.WARNING, "missing or unfair: %s", remark)
    print(f"Report of experiment {config.experiment}: {page} (artifact {ARTIFACTS}/{page.name} of run {run.run_id}).")
    return page


def _note(report: Report) -> str:
    """Return the tables in Markdown, truncated to as many lines as fit into a note."""
    text = report.body()
    if len(text) <= NOTE_CHARACTERS:
        return text
    return text[:NOTE_CHARACTERS].rpartition("\n")[0] + f"\n\nThe full report is in `{ARTIFACTS}/report.html`.\n"
