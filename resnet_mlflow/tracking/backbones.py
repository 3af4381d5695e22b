"""Fine-tuned backbones in the store, downloaded once per process."""

import re
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import file_sha256
from resnet_mlflow.files.scratch import PREFIX
from resnet_mlflow.tracking.artifacts import MAX_BACKBONE_BYTES, download
from resnet_mlflow.tracking.opening import store_uri
from resnet_mlflow.tracking.registry import run_of_model

BACKBONE_ARTIFACT = "backbone/backbone.safetensors"
_LOGGED_MODEL = re.compile(r"models:/(m-\w+)")
_RUN = re.compile(r"runs:/([\w-]+)(/.*)?")


def download_backbone(uri: str) -> Path:
    """Return the local copy of the backbone of one of our runs or its model; it is deleted when the process ends.

    Args:
        uri: ``runs:/<run id>`` of a fine-tuning run, or ``models:/...`` logged by one.

    Raises:
        InputError: If the run or model does not exist, has no backbone, or not the one that it logged.
    """
    try:
        return _fetched(store_uri(), _run_behind(uri))
    except (InputError, MlflowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"weights must be a fine-tuning of more than fc, got {uri!r} ({reason}); list them in MLflow by "
            "tags.stage = 'finetune'"
        ) from None


def _run_behind(uri: str) -> str:
    """Return the id of the run that trained the backbone at an address."""
    if run := _RUN.fullmatch(uri):
        return run[1]
    client = mlflow.MlflowClient()
    if not (logged := _LOGGED_MODEL.fullmatch(uri)):
        return run_of_model(uri)
    source = str(client.get_logged_model(logged[1]).source_run_id)
    # A promoted model was logged by the promotion; its backbone is with the run that trained it.
    return str(client.get_run(source).data.tags.get("candidate", source))


@lru_cache(maxsize=8)
def _fetched(store: str, run_id: str) -> Path:
    path = download(run_id, BACKBONE_ARTIFACT, Path(tempfile.mkdtemp(dir=_folder())), MAX_BACKBONE_BYTES)
    logged = mlflow.get_run(run_id).data.tags.get("backbone_digest")
    if logged is not None and not file_sha256(path).startswith(logged):
        raise InputError(f"a backbone must match the one logged by its run ({logged}), got another in run {run_id}")
    return path


@cache
def _folder() -> str:
    _KEPT.append(tempfile.TemporaryDirectory(prefix=PREFIX))
    return _KEPT[-1].name


# Removed when the process ends.
_KEPT: "list[tempfile.TemporaryDirectory[str]]" = []
