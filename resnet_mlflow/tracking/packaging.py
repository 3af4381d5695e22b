"""A whole classifier as an MLflow model: image in, label out, nothing pickled, its own source beside it."""

import base64
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Map

from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.files.source import copy_source

LOADER = "resnet_mlflow.serving"
# What `resnet_mlflow.serving.model` imports; MLflow adds itself. A test starts a process that has nothing else.
SERVING_REQUIREMENTS = (
    # With httptools the server parses requests of many images in compiled code.
    *("httptools", "numpy", "pandas", "pillow", "pybase64", "pydantic", "safetensors"),
    *("scikit-learn", "scipy", "simplejpeg", "skops", "torch", "torchvision"),
)


def log_classifier(
    folder: Path,
    example: bytes,
    metadata: Mapping[str, Any],
    model_config: Mapping[str, Any],
    requirements: Sequence[str] = (),
    *,
    with_rules: bool = False,
) -> str:
    """Log a classifier's folder as the model ``classifier`` of the active run, and return the model's id.

    Args:
        folder: What ``resnet_mlflow.serving.classifier.write_classifier`` wrote.
        example: An image file, shown as the input example.
        metadata: Kept in the model's ``MLmodel``.
        model_config: What may be set where the model is loaded, with the defaults.
        requirements: Packages that this classifier's backbone needs besides.
        with_rules: Whether its answers say when they are none.
    """
    import mlflow.pyfunc  # takes seconds, which stages that package nothing need not wait

    with scratch_folder() as source:
        info = mlflow.pyfunc.log_model(
            name="classifier",
            loader_module=LOADER,
            data_path=str(folder),
            # Each file is a request where the store is a server: those that are needed.
            code_paths=[str(copy_source(LOADER, source))],
            signature=_signature(with_rules),
            input_example=pd.DataFrame({"image": [base64.b64encode(example).decode()]}),
            # Named here, since MLflow would find them in a subprocess that takes seconds.
            pip_requirements=[f"{name}=={_released_version(name)}" for name in (*SERVING_REQUIREMENTS, *requirements)],
            metadata=dict(metadata),
            model_config=dict(model_config),
        )
    return str(info.model_id)


def load_served(uri: str, model_config: Mapping[str, Any] | None = None) -> Any:
    """Return the model at ``uri`` as MLflow serves it: its ``predict`` takes tables and pixels.

    Args:
        uri: Of the model.
        model_config: What is to be other than the defaults it was logged with.
    """
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(uri, model_config=dict(model_config or {}))


def _released_version(name: str) -> str:
    # A build's own suffix, as in 2.9.0+cpu, is not to be had from a package index.
    return importlib.metadata.version(name).split("+")[0]


def _signature(with_rules: bool) -> ModelSignature:
    # No schema of MLflow's holds both a table of images and an array of pixels: it would refuse one of the two
    # before this package sees it. The example shows the input.
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "label"),
        ColSpec(DataType.double, "probability"),
        ColSpec(Map(DataType.double), "scores"),
    ]
    if with_rules:
        outputs += [
            ColSpec(Array(DataType.string), "set"),
            ColSpec(DataType.boolean, "answered"),
            ColSpec(DataType.string, "reason"),
        ]
    return ModelSignature(outputs=Schema(outputs), params=ParamSchema([ParamSpec("top_k", DataType.long, default=0)]))
