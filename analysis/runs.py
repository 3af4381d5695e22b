"""All runs of an experiment as one tidy, typed table.

All values come from what MLflow returns for runs: no artifact is downloaded, so thousands of runs take seconds.
``schema`` converts text to values.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from analysis.schema import defaults_of, fits, setting_of, typed_value
from analysis.warnings import warnings_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.moments import seconds_of
from resnet_mlflow.review import RUN_RULES, TAG
from resnet_mlflow.tracking import PROTOCOL, experiment_runs, find_experiment, protocol_of

CONFIG = "config."
# Tags that become columns with names of their own.
TAGS = {
    "stage": "stage",
    "dataset": "dataset",
    "dataset_digest": "dataset_digest",
    "backbone": "backbone",
    "weights": "weights",
    "head": "head",
    "method": "method",
    "parent": "mlflow.parentRunId",
    "classifier_run": "classifier_run",
    "features_key": "features_key",
    "corrected_from": "corrected_from",
    "cache_key": "cache_key",
    "image_size": "image_size",
    "version": "version",
    "commit": "mlflow.source.git.commit",
    "dirty": "git_dirty",
    "error": "error",
    **{f"{TAG}{code}": f"{TAG}{code}" for code in RUN_RULES},
}
# Tags from which tables and files are named.
NAMES = ("stage", "dataset", "dataset_digest", "backbone", "weights", "head", "method")
MAX_NAME = 250
_NUMBER = re.compile(r"[0-9]{1,10}")
INFO = ("run_id", "name", "status", "strategy", PROTOCOL, "seed", "setting", "start", "end", "duration_s")


@dataclass(frozen=True)
class Runs:
    """The runs of an experiment.

    Attributes:
        experiment: Name of the experiment.
        experiment_id: Its id, for links into MLflow.
        frame: One row per run, newest first: ``run_id``, ``name``, ``stage``, ``status``, ``dataset``,
            ``dataset_digest``, ``backbone``, ``weights``, ``head``, ``strategy`` (``frozen`` or the trained layers),
            ``protocol`` (see ``tracking.protocol_of``), ``method`` (for a long tail), ``seed``, ``image_size`` in
            pixels, ``setting`` (equal for runs that differ only in their seed), ``parent``, ``classifier_run``,
            ``version``, ``commit``, ``dirty``, ``warning.<code>`` (the text that the run logged), ``start``, ``end``,
            ``duration_s``; typed parameters as ``config.<name>``; metrics by their own names.
        warnings: What makes a comparison of these runs unfair or incomplete.
    """

    experiment: str
    experiment_id: str
    frame: pd.DataFrame
    warnings: tuple[str, ...]


def load_runs(
    experiment: str,
    *,
    dataset: str = "",
    tags: Mapping[str, str] | None = None,
    since: str = "",
    until: str = "",
    parent: str = "",
) -> Runs:
    """Return all runs of an experiment that pass the filters.

    Args:
        experiment: Name of the experiment.
        dataset: Value of the ``dataset`` tag.
        tags: Further tags, all of which must match.
        since: Earliest start, a day or moment, ISO 8601 in UTC, such as ``2026-11-24``.
        until: Only runs that started before this day or moment.
        parent: A run; only it and all runs below it are kept.

    Raises:
        InputError: If there is no such experiment or parent, a date cannot be read, or the store cannot be reached.
    """
    wanted = dict(tags or {}) | ({"dataset": dataset} if dataset else {})
    conditions = [f"tags.`{name}` = {_quoted(value)}" for name, value in wanted.items()]
    conditions += [f"attributes.start_time >= {_milliseconds('since', since)}"] if since else []
    conditions += [f"attributes.start_time < {_milliseconds('until', until)}"] if until else []
    experiment_id = find_experiment(experiment)
    found = experiment_runs(experiment_id, " and ".join(conditions))
    # A run that `mlflow run` started and that only points to the run it continued has no results.
    own = [run for run in found if "continued_in" not in run.data.tags]
    readable = [run for run in own if is_readable(run)]
    frame = to_frame(readable)
    if parent:
        frame = _below(frame, parent)
    remarks = list(warnings_of(frame))
    if (n_foreign := len(own) - len(readable)) > 0:
        remarks.append(
            f"{n_foreign} run{'s are' if n_foreign > 1 else ' is'} omitted, with numbers or names that are not this "
            f"project's."
        )
    return Runs(experiment, experiment_id, frame, tuple(remarks))


def is_readable(run: Run) -> bool:
    """Return whether a run's tags can belong to a run of this project; an experiment may contain other runs."""
    tags, params = run.data.tags, run.data.params
    numbers = (tags.get("seed", params.get("seed")), tags.get("image_size"))
    names = [tags[name] for name in NAMES if name in tags]
    return (
        all(fits(tags.get("stage", ""), name, text) for name, text in params.items())
        and all(number is None or _NUMBER.fullmatch(number) is not None for number in numbers)
        and all(len(name) <= MAX_NAME and name.isprintable() for name in names)
        and all(math.isfinite(moment) for moment in (run.info.start_time or 0, run.info.end_time or 0))
        and run.info.start_time is not None
    )


def to_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return runs as the table that ``Runs.frame`` describes."""
    rows = [_row(run) for run in runs]
    info = pd.DataFrame([row[0] for row in rows], columns=[*INFO, *TAGS])
    texts = [name for name in info.columns if name not in ("seed", "image_size", "start", "end", "duration_s")]
    info["image_size"] = pd.to_numeric(info["image_size"])
    info = info.astype(dict.fromkeys(texts, "str") | dict.fromkeys(("seed", "image_size"), "Int64"))
    for name in ("start", "end"):
        info[name] = pd.to_datetime(info[name], unit="ms", utc=True)
    config = _columns([row[1] for row in rows]).add_prefix(CONFIG)
    return pd.concat([info, config, _metrics(runs)], axis=1)


def _row(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    tags, ended = run.data.tags, run.info.end_time
    stage = tags.get("stage", "")
    # Parameters of the fitted head (`head.k`) follow from these; with the seed among them every run would differ.
    params = {name: text for name, text in run.data.params.items() if not name.startswith("head.")}
    config = defaults_of(stage) | {name: typed_value(stage, name, text) for name, text in params.items()}
    info: dict[str, Any] = {column: tags.get(tag) for column, tag in TAGS.items()}
    seed = tags.get("seed", config.get("seed"))
    info |= {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "strategy": _strategy(stage, config),
        PROTOCOL: protocol_of(config),
        "seed": None if seed is None or stage == "study" else int(seed),
        "setting": setting_of(stage, config, info["weights"] or "", info["dataset_digest"] or ""),
        "start": run.info.start_time,
        "end": ended,
        "duration_s": (ended - run.info.start_time) / 1000 if ended else np.nan,
    }
    return info, config


def _strategy(stage: str, config: Mapping[str, Any]) -> str | None:
    if stage == "fit_head" or (stage == "longtail" and config.get("train_layers") == "fc"):
        return "frozen"
    return config.get("train_layers")


def _columns(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return typed parameters as columns, each of the narrowest suitable type."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pd.array([row.get(name) for row in rows], dtype=object) for name in names}
    return pd.DataFrame(columns, index=range(len(rows))).convert_dtypes(dtype_backend="numpy_nullable")


def _metrics(runs: Sequence[Run]) -> pd.DataFrame:
    names = sorted({name for run in runs for name in run.data.metrics})
    columns = {name: np.full(len(runs), np.nan) for name in names}
    for row, run in enumerate(runs):
        for name, value in run.data.metrics.items():
            columns[name][row] = value
    return pd.DataFrame(columns, index=range(len(runs)))


def _below(frame: pd.DataFrame, parent: str) -> pd.DataFrame:
    if parent not in set(frame["run_id"]):
        raise InputError(f"parent must be a run of the experiment, got {parent!r}; copy its id from MLflow")
    kept = {parent}
    while len(found := kept | set(frame.loc[frame["parent"].isin(kept), "run_id"])) > len(kept):
        kept = found
    return frame[frame["run_id"].isin(kept)].reset_index(drop=True)


def _milliseconds(name: str, text: str) -> int:
    return int(seconds_of(name, text) * 1000)


def _quoted(value: str) -> str:
    if '"' in value:
        raise InputError(f"a tag to filter by must have no double quotes, got {value!r}")
    return f'"{value}"'
