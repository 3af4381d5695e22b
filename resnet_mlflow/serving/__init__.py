"""A complete classifier, image in and label out: its folder, its form in MLflow, the decision to promote it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_mlflow.serving.model import ServedClassifier


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> "ServedClassifier":
    """Return the model in a folder; called by MLflow, because packaged models name this package as their loader."""
    from resnet_mlflow.serving.model import load_served_classifier

    return load_served_classifier(path, model_config)
