"""The page of the tracking schema against the runs of a study."""

import re
from pathlib import Path

import mlflow
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tracking-schema.md"
ALL_BUT_TRIALS = {"study", "extract", "fit_head", "finetune", "longtail", "compare"}


def rows(section):
    """Names as patterns, stages and condition of each row of a section's table."""
    table = PAGE.read_text().split(f"<!-- {section} -->")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\| `.*", table, re.MULTILINE)]
    for names, _, stages, condition in lines:
        listed = set(stages.split(", "))
        listed |= ALL_BUT_TRIALS if "every" in listed else set()
        for name in re.findall(r"`([^`]+)`", names):
            yield re.compile(re.sub(r"<[a-z]+>", "[^/]+", re.escape(name))), listed, condition


@pytest.fixture(scope="module")
def logged(demo_store):
    """Of every run of the demo: its stage, and what it logged of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", demo_store)
        client = mlflow.MlflowClient(demo_store)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return [(run.data.tags["stage"], _of(client, run)) for run in client.search_runs(ids)]


def _of(client, run):
    return {
        "tags": {name for name in run.data.tags if not name.startswith("mlflow.")},
        "metrics": {name for name in run.data.metrics if not name.startswith("system/")},
        "artifacts": set(_files(client, run.info.run_id, "")),
    }


def _files(client, run_id, folder):
    for entry in client.list_artifacts(run_id, folder):
        yield from _files(client, run_id, entry.path) if entry.is_dir and entry.path != "report" else [entry.path]


@pytest.mark.parametrize("section", ["tags", "metrics", "artifacts"])
def test_everything_that_is_logged_is_listed(logged, section):
    table = list(rows(section))
    unlisted = {
        (stage, name)
        for stage, kinds in logged
        for name in kinds[section] - {"report"}
        if not any(stage in stages and pattern.fullmatch(name) for pattern, stages, _ in table)
    }
    assert unlisted == set()


@pytest.mark.parametrize("section", ["tags", "metrics", "artifacts"])
def test_what_is_listed_without_a_condition_is_logged(logged, section):
    missing = {
        (stage, pattern.pattern)
        for pattern, stages, condition in rows(section)
        if not condition
        for stage, kinds in logged
        if stage in stages and pattern.pattern != re.escape("report/") + "[^/]+"
        if not any(pattern.fullmatch(name) for name in kinds[section])
    }
    assert missing == set()
