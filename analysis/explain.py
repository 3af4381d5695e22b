"""Everything behind the numbers of a run, as Markdown."""

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.commands import command_of, project_command, typed_config
from analysis.schema import config_of, defaults_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.review import RUN_RULES, TAG
from resnet_mlflow.tracking import find_runs, get_run, reach_store

SCORES = ("val/accuracy", "test/accuracy", "test/balanced_accuracy", "test/macro_f1", "test/nll", "test/ece")
# The score of a cross-validation, over folds.
FOLDS_SCORES = ("cv_val_accuracy", "cv_accuracy", "cv_balanced_accuracy", "cv_macro_f1", "cv_nll", "cv_ece")


def explain(run_id: str) -> str:
    """Return what a run's numbers are based on: commands, parameters, data, code, seed, upstream runs, environment.

    Raises:
        InputError: If there is no such run, or it does not belong to this project.
    """
    reach_store()
    run = get_run(run_id)
    stage = run.data.tags.get("stage", "")
    if not stage:
        raise InputError(f"run_id must name a run of this project, got {run_id!r} without a stage tag; see tags.stage")
    sections = {
        "Numbers": _numbers(run),
        "Warnings": _warnings(run),
        "How to repeat it": _commands(stage, run_id),
        "Parameters": _parameters(stage, run_id),
        "Data": _data(run),
        "Code": _code(run),
        "Upstream runs": [f"- {line}" for line in upstream(run)],
    }
    lines = [f"# {run.info.run_name}", "", _heading(run)]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *(content or ["None."])]
    return "\n".join(lines)


def _heading(run: Run) -> str:
    start = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    took = f", {(run.info.end_time - run.info.start_time) / 1000:.1f} s" if run.info.end_time else ""
    error = f"; error: {run.data.tags['error']}" if "error" in run.data.tags else ""
    return f"Run {run.info.run_id}, {run.info.status}, started {start:%Y-%m-%d %H:%M:%S} UTC{took}{error}."


def _numbers(run: Run) -> list[str]:
    metrics = run.data.metrics
    rows = []
    for name in (score for score in (*SCORES, *FOLDS_SCORES) if score in metrics):
        low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
        interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        rows.append([name, f"{metrics[name]:.4f}", interval])
    over = "folds" if FOLDS_SCORES[0] in metrics else "items"
    return markdown_table(["metric", "value", f"95 % interval over {over}"], rows) if rows else []


def _warnings(run: Run) -> list[str]:
    tags = run.data.tags
    logged = {code: tags[f"{TAG}{code}"] for code in RUN_RULES if f"{TAG}{code}" in tags}
    return [f"- {RUN_RULES[code].message([text])}" for code, text in logged.items()]


def _commands(stage: str, run_id: str) -> list[str]:
    if config_of(stage) is None:
        return [f"No entry point runs the stage {stage} on its own: repeat the parent run below."]
    config = typed_config(run_id)
    return ["```", shlex.join(["python", *command_of(stage, config)]), project_command(stage, config), "```"]


def _parameters(stage: str, run_id: str) -> list[str]:
    if config_of(stage) is None:
        return []
    defaults = defaults_of(stage)
    config = typed_config(run_id)
    rows = [[name, repr(value), "" if value == defaults.get(name) else "given"] for name, value in config.items()]
    return markdown_table(["parameter", "value", "not at their defaults"], rows)


def _data(run: Run) -> list[str]:
    tags = run.data.tags
    lines = [f"- {name}: {tags[tag]}" for name, tag in _DATA_TAGS.items() if tags.get(tag, "{}") != "{}"]
    rows = []
    for entry in run.inputs.dataset_inputs if run.inputs else ():
        context = next((tag.value for tag in entry.tags if tag.key == "mlflow.data.context"), "")
        rows.append([context, entry.dataset.name, entry.dataset.digest])
    return [*lines, "", *markdown_table(["role", "split", "digest of images and labels"], rows)] if rows else lines


_DATA_TAGS = {
    "dataset": "dataset",
    "digest of the dataset": "dataset_digest",
    "features": "features_key",
    "backbone weights": "weights",
    "backbone digest": "backbone_digest",
    "image size (px)": "image_size",
    "precision": "precision",
    "preprocessing of images": "preprocessing",
    "seed (validation split, initial weights, batch order)": "seed",
    "images skipped": "n_skipped_images",
    "duplicates across splits": "duplicates_across_splits",
    "groups by": "group_by",
    "groups across splits": "groups_across_splits",
}


def _code(run: Run) -> list[str]:
    tags = run.data.tags
    dirty = {"true": "with uncommitted changes", "false": "without uncommitted changes"}
    commit = tags.get("mlflow.source.git.commit", "unknown")
    return [
        f"- version {tags.get('version', 'unknown')}, commit {commit}, "
        f"{dirty.get(tags.get('git_dirty', ''), 'uncommitted changes unknown')}",
        f"- environment: {tags.get('environment', 'unknown')}",
        f"- ran on {tags.get('worker', 'unknown')} ({tags.get('processor', 'processor unknown')}) by "
        f"{tags.get('mlflow.user', 'unknown')}",
    ]


def upstream(run: Run) -> Iterator[str]:
    """Yield one line for each run on which a run's numbers depend: parents, features, backbone, classifier."""
    tags = run.data.tags
    named = {"parent": "mlflow.parentRunId", "classifier": "classifier_run", "backbone": "backbone_run"}
    for role, tag in named.items():
        if tag in tags:
            yield _line(role, tags[tag])
    weights = run.data.params.get("weights", "")
    if weights.startswith("runs:/"):
        yield _line("backbone", weights.removeprefix("runs:/").split("/")[0])
    if "features_key" in tags and tags.get("stage") != "extract":
        # The first extraction with this key computed the features; later ones reused them.
        for found in find_runs({"stage": "extract", "features_key": tags["features_key"]})[-1:]:
            yield _describe("features", found)


def _line(role: str, run_id: str) -> str:
    try:
        return _describe(role, get_run(run_id))
    except (InputError, MlflowException):
        return f"{role}: {run_id}, which is no longer in the store"


def _describe(role: str, run: Run) -> str:
    deleted = ", deleted" if run.info.lifecycle_stage == "deleted" else ""
    return f"{role}: {run.info.run_name} ({run.info.run_id}, {run.info.status}{deleted})"


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return name and both values of all entries in which two mappings differ; missing values are ``None``."""
    names = dict.fromkeys([*first, *second])
    return [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]
