"""Which classifier is promoted, and what it takes."""

from typing import Literal

from pydantic import Field

from resnet_mlflow.config.answering import AnsweringConfig
from resnet_mlflow.config.data import DatasetConfig
from resnet_mlflow.config.monitoring import PowerConfig


class PromoteConfig(PowerConfig, AnsweringConfig, DatasetConfig):
    """Package a dataset's best classifier, register it, and make it champion if it beats the present one."""

    run_id: str = Field("", description="The candidate's run; empty means the best by validation.")
    model_name: str = Field("", description="Name in the model registry; empty means <dataset>-classifier.")
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
    dry_run: bool = Field(False, description="Explain the decision and change nothing.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )
