"""Which classifier is promoted, and under which conditions."""

from typing import Literal

from pydantic import Field

from resnet_mlflow.config.answering import AnsweringConfig
from resnet_mlflow.config.data import DatasetConfig
from resnet_mlflow.config.monitoring import PowerConfig


class PromoteConfig(PowerConfig, AnsweringConfig, DatasetConfig):
    """Package a dataset's best classifier, register it, and make it champion if it beats the current one."""

    action: Literal["promote", "rollback", "copy"] = Field(
        "promote",
        description="promote decides whether a candidate becomes champion; rollback makes an earlier version champion "
        "again; copy copies a version to the server target_uri.",
    )
    run_id: str = Field("", description="Run id of the candidate; empty means the best run by validation score.")
    experiment: str = Field("", description="Experiment whose runs are candidates; empty means the current experiment.")
    model_name: str = Field("", description="Name in the model registry; empty means <dataset>-classifier.")
    model_version: int = Field(
        0,
        ge=0,
        description="Version to roll back to or to copy; 0 means the previous champion (rollback) or the current one "
        "(copy).",
    )
    reason: str = Field(
        "", description="Reason for the action, recorded in the model's history; required for a rollback."
    )
    target_uri: str = Field("", description="Tracking server or store to which copy writes the version.")
    metric: Literal["accuracy", "balanced_accuracy"] = Field(
        "accuracy", description="Metric by which candidates are chosen on validation and compared on test."
    )
    margin: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="A candidate becomes champion only if the interval of the test difference lies above this.",
    )
    slices: Literal["ignore", "not_worse", "not_lower"] = Field(
        "ignore",
        description="Requirement on slices of the test split. not_worse: no test shows that the candidate is worse on "
        "any slice. not_lower: the candidate is correct at least as often on every slice.",
    )
    data_license: str = Field(
        "",
        description="Licence of the images, for the model card; empty means the licence file in the dataset's folder, "
        "if there is one.",
    )
    intended_use: str = Field("", description="Intended use of the classifier, for the model card.")
    dry_run: bool = Field(False, description="Explain the decision and change nothing.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )
