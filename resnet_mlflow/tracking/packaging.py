"""A whole classifier as an MLflow model: image in, label out, nothing pickled, with its source included."""

import base64
import importlib.metadata
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Map

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import check_digests, digests_of
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.tracking.artifacts import download_model

# The whole package, so that code that imports it after a model was loaded finds all of it.
PACKAGE = Path(__file__).parents[1]
# Packages that `resnet_mlflow.serving.model` imports; MLflow adds itself. A test starts a process with nothing else.
SERVING_REQUIREMENTS = (
    # With httptools, the server parses requests with many images in compiled code.
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
) -> "PackagedModel":
    """Log a classifier's folder as the model ``classifier`` of the active run, and return it.

    Args:
        folder: Folder written by ``resnet_mlflow.serving.classifier.write_classifier``.
        example: An image file, shown as the input example.
        metadata: Stored in the model's ``MLmodel`` file.
        model_config: Settings that can be changed when the model is loaded, with their defaults.
        requirements: Further packages that this classifier's backbone needs.
        with_rules: Whether it can withhold answers.
    """
    import mlflow.pyfunc  # takes seconds, which stages that package nothing are spared

    run = mlflow.active_run()
    assert run is not None
    with _logged_model(run.info.experiment_id, run.info.run_id) as (model, place):
        # Not log_model, which logs the defaults of model_config as parameters of the run: the run has its own
        # max_pixels.
        mlflow.pyfunc.save_model(
            path=str(place),
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                model_uuid=model.model_id,
                model_id=model.model_id,
                run_id=run.info.run_id,
                metadata=dict(metadata),
            ),
            loader_module="resnet_mlflow.serving",
            data_path=str(folder),
            code_paths=[str(PACKAGE)],
            signature=_signature(with_rules),
            input_example=pd.DataFrame({"image": [base64.b64encode(example).decode()]}),
            # Listed here, since MLflow would detect them in a subprocess that takes seconds.
            pip_requirements=[f"{name}=={_released_version(name)}" for name in (*SERVING_REQUIREMENTS, *requirements)],
            model_config=dict(model_config),
        )
        for left in place.rglob("__pycache__"):
            shutil.rmtree(left)
        return PackagedModel(model.model_id, digests_of(place))


@dataclass(frozen=True)
class PackagedModel:
    """A logged model.

    Attributes:
        model_id: Its id.
        digests: Digests of its files by path.
    """

    model_id: str
    digests: Mapping[str, str]


@contextmanager
def _logged_model(experiment_id: str, run_id: str) -> Iterator[tuple[LoggedModel, Path]]:
    """Yield a new model of a run, and a folder; the content of the folder becomes its files."""
    client = mlflow.MlflowClient()
    model = client.create_logged_model(experiment_id, name="classifier", source_run_id=run_id)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    try:
        with scratch_folder() as scratch:
            place = scratch / "model"
            yield model, place
            client.log_model_artifacts(model.model_id, str(place))
    except BaseException:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def log_copy(folder: Path, digests: Mapping[str, str]) -> str:
    """Log files unchanged as the model ``classifier`` of the active run, and return its id.

    Args:
        folder: Folder with the files.
        digests: Digests of the files by path.

    Raises:
        InputError: If the store then returns different files; only a FAILED model remains.
    """
    run = mlflow.active_run()
    assert run is not None
    with _logged_model(run.info.experiment_id, run.info.run_id) as (model, place):
        shutil.copytree(folder, place)
    try:
        with scratch_folder() as scratch:
            check_digests("a copy", digests_of(download_model(model.model_id, scratch)), digests, "copy it again")
    except InputError:
        mlflow.MlflowClient().finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    return str(model.model_id)


def load_served(uri: str, model_config: Mapping[str, Any] | None = None) -> Any:
    """Return the model at ``uri`` as served by MLflow: its ``predict`` takes tables and pixels.

    Args:
        uri: Address of the model.
        model_config: Settings that replace the defaults it was logged with.
    """
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(uri, model_config=dict(model_config or {}))


def _released_version(name: str) -> str:
    # Local version suffixes, as in 2.9.0+cpu, are not available from a package index.
    return importlib.metadata.version(name).split("+")[0]


def _signature(with_rules: bool) -> ModelSignature:
    # No MLflow schema allows both a table of images and an array of pixels: it would refuse one of them before this
    # package sees it. The example shows the input.
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
