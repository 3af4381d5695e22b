"""Runs, datasets and models in MLflow: the only room that talks to it.

Everything here goes through MLflow's public API, so that any tracking store serves: a SQLite file,
a database or a server.
"""

from resnet_mlflow.tracking.artifacts import MissingArtifactError, download, download_model, load_config, load_json
from resnet_mlflow.tracking.audits import find_test_twins, load_test_twins
from resnet_mlflow.tracking.backbones import BACKBONE_ARTIFACT, download_backbone
from resnet_mlflow.tracking.datasets import TrackedDataset, load_class_counts
from resnet_mlflow.tracking.experiments import (
    chosen_experiment,
    create_repeat,
    current_experiment,
    experiment_name,
    experiment_runs,
    find_experiment,
    reach_store,
)
from resnet_mlflow.tracking.history import HISTORY_TAG, Entry, History, Ledger, parse_history, read_history
from resnet_mlflow.tracking.liveness import describe_worker, end_abandoned_children, end_attempts, is_abandoned
from resnet_mlflow.tracking.locking import promotion_lock, start_lock
from resnet_mlflow.tracking.models import load_head, load_head_of_run, log_head
from resnet_mlflow.tracking.opening import store_uri
from resnet_mlflow.tracking.packaging import PackagedModel, load_served, log_classifier, log_copy
from resnet_mlflow.tracking.places import Place, other_store, this_place, use_place
from resnet_mlflow.tracking.predictions import (
    OUT_OF_FOLD,
    SLICE,
    ConfusionMatrix,
    CrossedPredictions,
    OutOfFold,
    Predictions,
    load_confusion_matrix,
    load_corrupted_predictions,
    load_out_of_fold,
    load_predictions,
    load_thumbnails,
)
from resnet_mlflow.tracking.protocol import PROTOCOL, protocol_of
from resnet_mlflow.tracking.queries import find_runs, finish_run, get_run, search_runs, set_error
from resnet_mlflow.tracking.refusals import without_password
from resnet_mlflow.tracking.registry import (
    ASKED_TAG,
    CHALLENGER,
    CHAMPION,
    REFIT_TAG,
    RUN_TAG,
    WITHDRAWN_TAG,
    aliases_of,
    download_classifier,
    find_model,
    model_id_of,
    move_alias,
    numbered_version,
    promoted_version,
    register,
    remove_tag,
    rewrite_version,
    run_of_model,
    version_of_run,
    version_with_alias,
    versions_of,
)
from resnet_mlflow.tracking.runs import StageRun, leave_launched_run, stage_run, under_run
from resnet_mlflow.tracking.store import connect
from resnet_mlflow.tracking.trials import TrialRun, describe_distributions, end_killed_trial

__all__ = [
    "ASKED_TAG",
    "BACKBONE_ARTIFACT",
    "CHALLENGER",
    "CHAMPION",
    "HISTORY_TAG",
    "OUT_OF_FOLD",
    "PROTOCOL",
    "REFIT_TAG",
    "RUN_TAG",
    "SLICE",
    "WITHDRAWN_TAG",
    "ConfusionMatrix",
    "CrossedPredictions",
    "Entry",
    "History",
    "Ledger",
    "MissingArtifactError",
    "OutOfFold",
    "PackagedModel",
    "Place",
    "Predictions",
    "StageRun",
    "TrackedDataset",
    "TrialRun",
    "aliases_of",
    "chosen_experiment",
    "connect",
    "create_repeat",
    "current_experiment",
    "describe_distributions",
    "describe_worker",
    "download",
    "download_backbone",
    "download_classifier",
    "download_model",
    "end_abandoned_children",
    "end_attempts",
    "end_killed_trial",
    "experiment_name",
    "experiment_runs",
    "find_experiment",
    "find_model",
    "find_runs",
    "find_test_twins",
    "finish_run",
    "get_run",
    "is_abandoned",
    "leave_launched_run",
    "load_class_counts",
    "load_config",
    "load_confusion_matrix",
    "load_corrupted_predictions",
    "load_head",
    "load_head_of_run",
    "load_json",
    "load_out_of_fold",
    "load_predictions",
    "load_served",
    "load_test_twins",
    "load_thumbnails",
    "log_classifier",
    "log_copy",
    "log_head",
    "model_id_of",
    "move_alias",
    "numbered_version",
    "other_store",
    "parse_history",
    "promoted_version",
    "promotion_lock",
    "protocol_of",
    "reach_store",
    "read_history",
    "register",
    "remove_tag",
    "rewrite_version",
    "run_of_model",
    "search_runs",
    "set_error",
    "stage_run",
    "start_lock",
    "store_uri",
    "this_place",
    "under_run",
    "use_place",
    "version_of_run",
    "version_with_alias",
    "versions_of",
    "without_password",
]
