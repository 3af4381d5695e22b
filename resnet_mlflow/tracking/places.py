"""Where the runs of a piece of work go that several processes share: told to workers, and used by them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow.tracking.fluent import _get_experiment_id

from resnet_mlflow import __version__
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import machine, process_name
from resnet_mlflow.tracking.opening import DATABASE_PORTS, store_uri
from resnet_mlflow.tracking.refusals import without_password
from resnet_mlflow.tracking.runs import under_run

# What says where runs go; a worker's own environment must not.
_CHOSEN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME")


@dataclass(frozen=True)
class Place:
    """A parent run and what it takes to log below it.

    Attributes:
        uri: Of the tracking store.
        experiment_id: That runs go to.
        parent_run_id: That runs lie under.
        machine: Where the parent's process is.
        version: Of this package there.
    """

    uri: str
    experiment_id: str
    parent_run_id: str
    machine: str
    version: str


def this_place(parent_run_id: str) -> Place:
    """Return where the runs of this process go, below one of them."""
    return Place(store_uri(), str(_get_experiment_id()), parent_run_id, machine(), __version__)


@contextmanager
def use_place(place: Place) -> Iterator[None]:
    """Let the runs of this process go to a place, which another one has told.

    Raises:
        InputError: If this process is of another version, or cannot reach the store from its machine.
    """
    if place.version != __version__:
        raise InputError(
            f"a worker must have resnet-mlflow {place.version}, as the process that it works for, got {__version__} at "
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
    os.environ["MLFLOW_EXPERIMENT_ID"] = place.experiment_id
    if store_uri() != place.uri:
        mlflow.set_tracking_uri(place.uri)
    if str(_get_experiment_id()) != place.experiment_id:
        mlflow.set_experiment(experiment_id=place.experiment_id)
    with under_run(place.parent_run_id):
        yield
