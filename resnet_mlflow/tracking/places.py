"""Where runs are logged when several processes share work: sent to workers, and used by them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.tracking import fluent
from mlflow.tracking.fluent import _get_experiment_id

from resnet_mlflow import __version__
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import machine, process_name
from resnet_mlflow.tracking.opening import DATABASE_PORTS, open_store, store_uri
from resnet_mlflow.tracking.refusals import refusals, without_password
from resnet_mlflow.tracking.runs import under_run
from resnet_mlflow.tracking.store import probe_server

# Variables that set where runs go; a worker's own environment must not decide this.
_CHOSEN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME")
_ID = "MLFLOW_EXPERIMENT_ID"


@dataclass(frozen=True)
class Place:
    """A parent run and everything needed to log below it.

    Attributes:
        uri: Address of the tracking store.
        experiment_id: Experiment for the runs.
        parent_run_id: Parent of the runs.
        machine: Machine of the parent's process.
        version: Version of this package on that machine.
    """

    uri: str
    experiment_id: str
    parent_run_id: str
    machine: str
    version: str


def this_place(parent_run_id: str) -> Place:
    """Return the place for runs below one of this process's runs."""
    return Place(store_uri(), str(_get_experiment_id()), parent_run_id, machine(), __version__)


@contextmanager
def other_store(uri: str, experiment: str) -> Iterator[None]:
    """Log the work of this process to another store within a block, to a named experiment there.

    Args:
        uri: Address of the store.
        experiment: Name of the experiment, created there if missing.

    Raises:
        InputError: If the store cannot be reached.
    """
    here, chosen = store_uri(), {name: os.environ.pop(name) for name in (*_CHOSEN, _ID) if name in os.environ}
    active: Any = fluent._active_experiment_id
    registry = str(mlflow.get_registry_uri())
    try:
        fluent._active_experiment_id = None
        mlflow.set_tracking_uri(uri)
        if registry != here:  # MLFLOW_REGISTRY_URI, which belongs to the original store
            mlflow.set_registry_uri(uri)
        os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment
        _reach(uri, experiment)
        yield
    finally:
        os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
        mlflow.set_tracking_uri(here)
        if registry != here:
            mlflow.set_registry_uri(registry)
        os.environ.pop(_ID, None)
        os.environ.update(chosen)
        fluent._active_experiment_id = active


def _reach(uri: str, experiment: str) -> None:
    try:
        probe_server()
        with refusals():
            open_store(uri)
            mlflow.set_experiment(experiment)
    except InputError as error:
        raise InputError(f"target_uri={without_password(uri)}: {error}") from None


@contextmanager
def use_place(place: Place) -> Iterator[None]:
    """Log the runs of this process to a place set by another process.

    Raises:
        InputError: If this process has another version, or cannot reach the store from its machine.
    """
    if place.version != __version__:
        raise InputError(
            f"a worker must have resnet-mlflow {place.version}, like the process that it works for, got {__version__} "
            f"at "
            f"{process_name()}; install the same version"
        )
    kind = place.uri.partition(":")[0].partition("+")[0]
    if place.machine != machine() and kind not in ("http", "https", "databricks", *DATABASE_PORTS):
        raise InputError(
            f"a worker on another host needs a tracking store that it can reach, got {without_password(place.uri)} at "
            f"{process_name()}; start an MLflow server, and set MLFLOW_TRACKING_URI to it where the study is started"
        )
    for name in _CHOSEN:
        os.environ.pop(name, None)
    os.environ[_ID] = place.experiment_id
    if store_uri() != place.uri:
        mlflow.set_tracking_uri(place.uri)
    if str(_get_experiment_id()) != place.experiment_id:
        mlflow.set_experiment(experiment_id=place.experiment_id)
    with under_run(place.parent_run_id):
        yield
