"""Queries for runs in a store."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError, shown
from resnet_mlflow.tracking.opening import store_uri

# Quotes cannot be escaped in a filter; `_` matches any one character in a pattern.
_AWKWARD = re.compile(r"['\"`\\\\%;\x00-\x1f]")


def find_runs(
    tags: Mapping[str, str], status: str | None = "FINISHED", experiment_ids: Sequence[str] = ()
) -> list[Run]:
    """Return all runs in the store with the given tags, newest first.

    Args:
        tags: Names and values, all of which must match.
        status: Status of the runs; ``None`` for any.
        experiment_ids: Experiments to search; all by default.
    """
    conditions = [condition(f"tags.`{name}`", value) for name, value in tags.items()]
    if status is not None:
        conditions.append(f"attributes.status = '{status}'")
    found = search_runs(" and ".join(conditions), experiment_ids)
    return [run for run in found if all(run.data.tags.get(name) == value for name, value in tags.items())]


def condition(field: str, value: str) -> str:
    """Return a filter that matches the value, and few others if MLflow's syntax cannot express it exactly."""
    if _AWKWARD.search(value) is None:
        return f"{field} = '{value}'"
    return f"{field} LIKE '{_AWKWARD.sub('_', value)}'"


def search_runs(filter_string: str, experiment_ids: Sequence[str] = ()) -> list[Run]:
    """Return all runs in the store that match a filter in MLflow's syntax, newest first.

    Args:
        filter_string: For example ``tags.dataset = 'digits' and metrics.`val/accuracy` > 0.9``; empty means all.
        experiment_ids: Experiments to search; all by default.

    Raises:
        InputError: If MLflow cannot read the filter.
    """
    experiments = list(experiment_ids) or [one.experiment_id for one in mlflow.search_experiments()]
    runs: list[Run] = []
    client, token = mlflow.MlflowClient(), None
    while True:
        try:
            page = client.search_runs(
                experiments, filter_string, order_by=["attributes.start_time DESC"], page_token=token
            )
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            reason = " ".join(str(error).split())
            raise InputError(
                f"filter must be valid in MLflow, got {shown(filter_string, 300)} ({reason[:300]}); for "
                f"example tags.dataset = 'digits'"
            ) from None
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def get_run(run_id: str) -> Run:
    """Return a run of the store.

    Raises:
        InputError: If there is none with this id.
    """
    try:
        return mlflow.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"run_id must name a run of {store_uri()}, got {shown(run_id)}; copy it from MLflow") from None


def finish_run(run_id: str) -> bool:
    """End a run with complete results as FINISHED, unless it has ended, and return whether the store has it."""
    try:
        info = mlflow.get_run(run_id).info
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    if info.lifecycle_stage == "active" and info.status != "FINISHED":
        mlflow.MlflowClient().set_terminated(run_id, "FINISHED")
    return bool(info.lifecycle_stage == "active")


def set_error(run_id: str, message: str) -> None:
    """Set the ``error`` tag of a run, if the store still responds."""
    with suppress(MlflowException):
        mlflow.MlflowClient().set_tag(run_id, "error", message[:1000])
