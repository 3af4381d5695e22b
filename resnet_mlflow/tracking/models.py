"""Fitted heads as MLflow models: stored by skops, so that loading one runs no pickled code."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.storage import head_types, quiet_light_imports, read_head
from resnet_mlflow.tracking.artifacts import download_model_part

HEAD_FILE = "model.skops"  # as MLflow names it
REQUIREMENTS = ("numpy", "scikit-learn", "scipy", "skops")


def log_head(head: Any, n_features: int, class_names: Sequence[str], tags: Mapping[str, str] | None = None) -> str:
    """Log a fitted head as the model ``head`` of the active run, and return the model's id.

    Args:
        head: A fitted estimator of ``resnet_mlflow.heads``.
        n_features: Length of a feature vector.
        class_names: Names of the classes 0, 1, ...; kept in the model's metadata.
        tags: Tags of the logged model.
    """
    with quiet_light_imports():
        import mlflow.pyfunc
        import mlflow.sklearn
        import skops.io

    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(head))
    foreign = [name for name in untrusted if name not in head_types()]
    if foreign:
        raise TypeError(f"a head must hold NumPy arrays and scikit-learn objects only, got {foreign}")
    info = mlflow.sklearn.log_model(
        head,
        name="head",
        serialization_format="skops",
        skops_trusted_types=untrusted,
        signature=_signature(n_features),
        # Named here, since MLflow would find them in a subprocess that takes seconds.
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
        metadata={"class_names": list(class_names)},
        tags=dict(tags or {}),
    )
    return str(info.model_id)


def load_head(uri: str) -> HeadBase:
    """Return the head logged at ``uri``, such as ``models:/m-1f3c...`` or ``runs:/<id>/head``.

    What the model's own ``MLmodel`` says of loaders and types is not read: a store that others write to may hold
    anything.

    Raises:
        InputError: If there is no head, or something else in its place.
    """
    with scratch_folder() as folder:
        return read_head(download_model_part(uri, HEAD_FILE, folder))


def _signature(n_features: int) -> ModelSignature:
    features = TensorSpec(np.dtype(np.float32), (-1, n_features), name=None)
    labels = TensorSpec(np.dtype(np.int64), (-1,), name=None)
    return ModelSignature(inputs=Schema([features]), outputs=Schema([labels]))
