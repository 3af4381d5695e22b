"""Runs, datasets and models in MLflow: the only package of ours that talks to it.

Everything here goes through MLflow's public API, so that any tracking store serves: a SQLite file,
a database or a server.
"""

from resnet_mlflow.tracking.datasets import TrackedDataset
from resnet_mlflow.tracking.models import load_head, log_head
from resnet_mlflow.tracking.predictions import Predictions, load_predictions
from resnet_mlflow.tracking.runs import StageRun, leave_launched_run, stage_run
from resnet_mlflow.tracking.store import (
    BACKBONE_ARTIFACT,
    connect,
    download,
    download_backbone,
    end_abandoned_children,
    find_runs,
    finish_run,
    get_run,
    load_config,
    search_runs,
    set_error,
    store_uri,
)
from resnet_mlflow.tracking.trials import TrialRun, describe_distributions, end_killed_trial

__all__ = [
    "BACKBONE_ARTIFACT",
    "Predictions",
    "StageRun",
    "TrackedDataset",
    "TrialRun",
    "connect",
    "describe_distributions",
    "download",
    "download_backbone",
    "end_abandoned_children",
    "end_killed_trial",
    "find_runs",
    "finish_run",
    "get_run",
    "leave_launched_run",
    "load_config",
    "load_head",
    "load_predictions",
    "log_head",
    "search_runs",
    "set_error",
    "stage_run",
    "store_uri",
]
