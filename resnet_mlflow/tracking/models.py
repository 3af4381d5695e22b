"""Fitted heads as MLflow models: stored by skops, so that loading one runs no pickled code."""

import importlib.metadata
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

REQUIREMENTS = ("numpy", "scikit-learn", "scipy", "skops")
_TORCH_SHIM = "sklearn.externals.array_api_compat.torch"


def log_head(head: Any, n_features: int, class_names: Sequence[str], tags: Mapping[str, str] | None = None) -> str:
    """Log a fitted head as the model ``head`` of the active run, and return the model's id.

    Args:
        head: A fitted estimator of ``resnet_mlflow.heads``.
        n_features: Length of a feature vector.
        class_names: Names of the classes 0, 1, ...; kept in the model's metadata.
        tags: Tags of the logged model.
    """
    with _quiet_light_imports():
        import mlflow.pyfunc
        import mlflow.sklearn
        import skops.io

    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(head))
    foreign = [name for name in untrusted if not name.startswith("resnet_mlflow.")]
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


def load_head(uri: str) -> Any:
    """Return the head logged at ``uri``, such as ``models:/m-1f3c...`` or ``runs:/<id>/head``."""
    with _quiet_light_imports():
        import mlflow.pyfunc
        import mlflow.sklearn

    return mlflow.sklearn.load_model(uri)


def _signature(n_features: int) -> ModelSignature:
    features = TensorSpec(np.dtype(np.float32), (-1, n_features), name=None)
    labels = TensorSpec(np.dtype(np.int64), (-1,), name=None)
    return ModelSignature(inputs=Schema([features]), outputs=Schema([labels]))


@contextmanager
def _quiet_light_imports() -> Iterator[None]:
    """Import without torch, which takes seconds, and without a warning that users cannot act on.

    skops lists scikit-learn's estimators by walking its packages; one of them is a shim for torch
    that holds no estimator. An entry of ``None`` makes its import fail, which the walk passes over.
    MLflow warns of type hints in its own modules while it is imported.
    """
    hide = "torch" not in sys.modules and _TORCH_SHIM not in sys.modules
    if hide:
        sys.modules[_TORCH_SHIM] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
            yield
    finally:
        if hide:
            del sys.modules[_TORCH_SHIM]
