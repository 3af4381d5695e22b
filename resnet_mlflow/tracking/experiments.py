"""Experiments as they are read: nothing here writes to the store, not even an experiment that is missing."""

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

# MLflow's own limit is 50 000; a page of this size is some tens of MiB.
PAGE_SIZE = 5000


def find_experiment(name: str) -> str:
    """Return the id of the experiment of that name.

    Raises:
        InputError: If the store cannot be reached, or holds no such experiment.
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
    """Return the experiment of a name; without one, that which runs of this process go to.

    Raises:
        InputError: If there is none of that name.
    """
    client, run_id = mlflow.MlflowClient(), os.environ.get("MLFLOW_RUN_ID")
    if name:
        return client.get_experiment(find_experiment(name))
    # `mlflow run` makes the run, and need not tell of its experiment.
    return client.get_experiment(client.get_run(run_id).info.experiment_id if run_id else str(_get_experiment_id()))


def experiment_name(run: Run) -> str:
    """Return the name of a run's experiment."""
    return str(mlflow.MlflowClient().get_experiment(run.info.experiment_id).name)


def run_address(run_id: str) -> str:
    """Return where MLflow's pages show a run, from their own address."""
    return f"#/experiments/{mlflow.MlflowClient().get_run(run_id).info.experiment_id}/runs/{run_id}"


def experiment_runs(experiment_id: str, filter_string: str = "") -> list[Run]:
    """Return all runs of an experiment, newest first, however many pages they take.

    Args:
        experiment_id: As ``find_experiment`` gives it.
        filter_string: In MLflow's own language; empty means all.
    """
    client, token = mlflow.MlflowClient(), None
    runs: dict[str, Run] = {}
    while True:
        page = client.search_runs([experiment_id], filter_string, max_results=PAGE_SIZE, page_token=token)
        # Pages are cut by position: a run that starts meanwhile moves others to the next page once more.
        runs.update((run.info.run_id, run) for run in page)
        token = page.token
        if not token:
            return list(runs.values())


def reach_store() -> None:
    """Make sure that the store is there to be read.

    Raises:
        InputError: If a server or database does not answer, or a SQLite file is missing: reading would create it.
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
    """Return the id of a new run beside another one, for an entry point to use; it names what it repeats.

    Args:
        run: What is repeated.
    """
    # Who made it from which commit: MLflow tells that of runs that it starts itself.
    tags = resolve_tags({"repeat_of": run.info.run_id})
    created = mlflow.MlflowClient().create_run(run.info.experiment_id, run_name=run.info.run_name, tags=tags)
    return str(created.info.run_id)
