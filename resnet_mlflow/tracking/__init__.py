"""Runs, datasets and models in MLflow: the only package of ours that talks to it.

Everything here goes through MLflow's public API, so that any tracking store serves: a SQLite file,
a database or a server.
"""

from resnet_mlflow.tracking.datasets import TrackedDataset
from resnet_mlflow.tracking.experiments import (
    create_repeat,
    current_experiment,
    experiment_runs,
    find_experiment,
    reach_store,
)
from resnet_mlflow.tracking.models import load_head, log_head
from resnet_mlflow.tracking.predictions import Predictions, load_predictions
from resnet_mlflow.tracking.runs import StageRun, stage_run
from resnet_mlflow.tracking.store import (
    BACKBONE_ARTIFACT,
    connect,
    download,
    download_backbone,
    end_abandoned_children,
    find_runs,
    get_run,
    load_config,
    search_runs,
    set_error,
    store_uri,
)

__all__ = [
    "BACKBONE_ARTIFACT",
    "Predictions",
    "StageRun",
    "TrackedDataset",
    "connect",
    "create_repeat",
    "current_experiment",
    "download",
    "download_backbone",
    "end_abandoned_children",
    "experiment_runs",
    "find_experiment",
    "find_runs",
    "get_run",
    "load_config",
    "load_head",
    "load_predictions",
    "log_head",
    "reach_store",
    "search_runs",
    "set_error",
    "stage_run",
    "store_uri",
]
