"""Fitted heads as MLflow models: stored with skops, so that loading one runs no pickled code."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.entities import Run
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.tracking.artifacts import download_model_part

if TYPE_CHECKING:
    from resnet_mlflow.heads.base import HeadBase

HEAD_FILE = "model.skops"  # as MLflow names it
# A run's tag with the name of its model.
MODEL_TAG = "model"
# Characters that MLflow refuses in a model's name.
_NO_NAME = re.compile(r"""[/:.%"']""")
REQUIREMENTS = ("numpy", "scikit-learn", "scipy", "skops")


def log_head(
    head: Any, n_features: int, class_names: Sequence[str], name: str = "head", tags: Mapping[str, str] | None = None
) -> str:
    """Log a fitted head as a model of the active run, and return the model's id.

    Args:
        head: A fitted estimator of ``resnet_mlflow.heads``.
        n_features: Length of a feature vector.
        class_names: Names of the classes 0, 1, ...; kept in the model's metadata.
        name: Name of the model, such as ``svm resnet18``; characters that are special in addresses become underscores.
        tags: Tags of the logged model.
    """
    from resnet_mlflow.heads.storage import head_types, quiet_light_imports

    with quiet_light_imports():
        import mlflow.pyfunc
        import mlflow.sklearn
        import skops.io

    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(head))
    foreign = [name for name in untrusted if name not in head_types()]
    if foreign:
        raise TypeError(f"a head must contain only NumPy arrays and scikit-learn objects, got {foreign}")
    name = _NO_NAME.sub("_", name)
    info = mlflow.sklearn.log_model(
        head,
        name=name,
        serialization_format="skops",
        skops_trusted_types=untrusted,
        signature=_signature(n_features),
        # Listed here, since MLflow would detect them in a subprocess that takes seconds.
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
        metadata={"class_names": list(class_names)},
        tags=dict(tags or {}),
    )
    mlflow.set_tag(MODEL_TAG, name)
    return str(info.model_id)


def load_head_of_run(run: Run) -> "HeadBase":
    """Return the head of a finished run.

    Raises:
        InputError: As for ``load_head``.
    """
    # Earlier runs have no such tag, and used this name for every model.
    name = _NO_NAME.sub("_", run.data.tags.get(MODEL_TAG, "head"))
    return load_head(f"runs:/{run.info.run_id}/{name}")


def load_head(uri: str) -> "HeadBase":
    """Return the head logged at ``uri``, such as ``models:/m-1f3c...`` or ``runs:/<id>/head``.

    Loaders and types in the model's ``MLmodel`` file are not read: a store that others write to may hold anything.

    Raises:
        InputError: If there is no head, or something else in its place.
    """
    from resnet_mlflow.heads.storage import read_head  # with scikit-learn, a second to import

    with scratch_folder() as folder:
        return read_head(download_model_part(uri, HEAD_FILE, folder))


def _signature(n_features: int) -> ModelSignature:
    features = TensorSpec(np.dtype(np.float32), (-1, n_features), name=None)
    labels = TensorSpec(np.dtype(np.int64), (-1,), name=None)
    return ModelSignature(inputs=Schema([features]), outputs=Schema([labels]))
