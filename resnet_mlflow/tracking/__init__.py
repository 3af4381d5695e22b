"""Runs, datasets and models in MLflow: the only package of ours that talks to it.

Everything here goes through MLflow's public API, so that any tracking store serves: a SQLite file,
a database or a server.
"""

from resnet_mlflow.tracking.datasets import TrackedDataset, load_class_counts
from resnet_mlflow.tracking.models import load_head, log_head
from resnet_mlflow.tracking.predictions import Predictions, load_corrupted_predictions, load_predictions
from resnet_mlflow.tracking.registry import run_of_model
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
    "download",
    "download_backbone",
    "end_abandoned_children",
    "find_runs",
    "get_run",
    "load_class_counts",
    "load_config",
    "load_corrupted_predictions",
    "load_head",
    "load_predictions",
    "log_head",
    "run_of_model",
    "search_runs",
    "set_error",
    "stage_run",
    "store_uri",
]
