"""Which classifier is promoted, and what it takes."""

from typing import Literal

from pydantic import Field

from resnet_mlflow.config.answering import AnsweringConfig
from resnet_mlflow.config.data import DatasetConfig
from resnet_mlflow.config.monitoring import PowerConfig


class PromoteConfig(PowerConfig, AnsweringConfig, DatasetConfig):
    """Package a dataset's best classifier, register it, and make it champion if it beats the present one."""

    action: Literal["promote", "rollback", "copy"] = Field(
        "promote",
        description="promote decides about a candidate; rollback makes an earlier version champion again; copy brings "
        "a version to the server of target_uri.",
    )
    run_id: str = Field("", description="The candidate's run; empty means the best by validation.")
    experiment: str = Field(
        "", description="Experiment whose runs are candidates; empty means the one that runs go to."
    )
    model_name: str = Field("", description="Name in the model registry; empty means <dataset>-classifier.")
    model_version: int = Field(
        0,
        ge=0,
        description="Version to roll back to, or to copy; 0 means the champion before this one, or the champion.",
    )
    reason: str = Field("", description="Why, for the history of the model; a rollback must say it.")
    target_uri: str = Field("", description="Tracking server or store that copy brings a version to.")
    metric: Literal["accuracy", "balanced_accuracy"] = Field(
        "accuracy", description="Metric by which candidates are chosen on validation and compared on test."
    )
    margin: float = Field(
        0.0, ge=0, lt=1, description="The interval of the test difference must lie above this for a new champion."
    )
    slices: Literal["ignore", "not_worse", "not_lower"] = Field(
        "ignore",
        description="Requirement on slices of the test split: not_worse, that no test shows the candidate worse "
        "on any; not_lower, that it is right as often on each.",
    )
    data_license: str = Field(
        "", description="Licence of the images, for the model card; empty means what the dataset's folder says."
    )
    intended_use: str = Field("", description="What the classifier is for, for the model card.")
    dry_run: bool = Field(False, description="Explain the decision and change nothing.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )
