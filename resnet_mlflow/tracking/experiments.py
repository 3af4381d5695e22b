"""Reads experiments: nothing here writes to the store, not even to create a missing experiment."""

import os
from pathlib import Path

import mlflow
from mlflow.entities import Experiment, Run
from mlflow.tracking.context.registry import resolve_tags
from mlflow.tracking.fluent import _get_experiment_id

from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.tracking.opening import DATABASE_PORTS, knock, store_uri
from resnet_mlflow.tracking.refusals import refusals
from resnet_mlflow.tracking.store import check_state, probe_server

# MLflow's own limit is 50 000; a page of this size is tens of MiB.
PAGE_SIZE = 5000


def find_experiment(name: str) -> str:
    """Return the id of the experiment with this name.

    Raises:
        InputError: If the store cannot be reached, or the experiment does not exist.
    """
    reach_store()
    with refusals():
        experiment = mlflow.MlflowClient().get_experiment_by_name(name)
        if experiment is not None:
            check_state(experiment)
            return str(experiment.experiment_id)
        known = [str(found.name) for found in mlflow.search_experiments()]
    near = nearest(name, known)
    raise InputError(
        f"experiment must be one of those in {store_uri()} ({', '.join(sorted(known))}), got {name!r}{near}"
    )


def current_experiment() -> str:
    """Return the name of the experiment that new runs go to."""
    return str(mlflow.MlflowClient().get_experiment(str(_get_experiment_id())).name)


def chosen_experiment(name: str = "") -> Experiment:
    """Return the experiment with a name; without one, the experiment for runs of this process.

    Raises:
        InputError: If there is none with this name.
    """
    client, run_id = mlflow.MlflowClient(), os.environ.get("MLFLOW_RUN_ID")
    if name:
        return client.get_experiment(find_experiment(name))
    # `mlflow run` creates the run, and need not set the experiment.
    return client.get_experiment(client.get_run(run_id).info.experiment_id if run_id else str(_get_experiment_id()))


def experiment_name(run: Run) -> str:
    """Return the name of a run's experiment."""
    return str(mlflow.MlflowClient().get_experiment(run.info.experiment_id).name)


def run_address(run_id: str) -> str:
    """Return the address of a run's page, relative to MLflow's pages."""
    return f"#/experiments/{mlflow.MlflowClient().get_run(run_id).info.experiment_id}/runs/{run_id}"


def experiment_runs(experiment_id: str, filter_string: str = "") -> list[Run]:
    """Return all runs of an experiment, newest first, over any number of pages.

    Args:
        experiment_id: Result of ``find_experiment``.
        filter_string: Filter in MLflow's syntax; empty means all.
    """
    client, token = mlflow.MlflowClient(), None
    runs: dict[str, Run] = {}
    while True:
        page = client.search_runs([experiment_id], filter_string, max_results=PAGE_SIZE, page_token=token)
        # Pages are divided by position: a run that starts meanwhile moves others to the next page, where they appear
        # again.
        runs.update((run.info.run_id, run) for run in page)
        token = page.token
        if not token:
            return list(runs.values())


def reach_store() -> None:
    """Check that the store can be read.

    Raises:
        InputError: If a server or database does not answer, or a SQLite file is missing, which reading would create.
    """
    probe_server()
    uri = store_uri()
    kind, _, rest = uri.partition("://")
    if kind == "sqlite" and rest.startswith("/") and not Path(rest[1:]).is_file():
        raise InputError(
            f"the tracking store must exist to be read, got no file {rest[1:]}; set MLFLOW_TRACKING_URI, or run a "
            "study first"
        )
    if kind.split("+")[0] in DATABASE_PORTS:
        knock(uri)


def create_repeat(run: Run) -> str:
    """Create a run next to another one, for an entry point to use, and return its id; it names the original.

    Args:
        run: The run to repeat.
    """
    # User and commit: MLflow sets these only for runs that it starts itself.
    tags = resolve_tags({"repeat_of": run.info.run_id})
    created = mlflow.MlflowClient().create_run(run.info.experiment_id, run_name=run.info.run_name, tags=tags)
    return str(created.info.run_id)
