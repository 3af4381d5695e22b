"""Registered models: which version is which, and the run behind each."""

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.store import store_uri

RUN_TAG = "run_id"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def run_of_model(uri: str) -> str:
    """Return the id of the run whose classifier a registered model is.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.

    Raises:
        InputError: If there is no such version, or it was not promoted by this project.
    """
    version = _version_of(uri)
    if version is None or RUN_TAG not in version.tags:
        found = "no such version" if version is None else f"version {version.version}, which has no tag {RUN_TAG}"
        raise InputError(
            f"a model must be a promoted version in {store_uri()}, got {uri!r} ({found}); write "
            "models:/NAME@champion or models:/NAME/VERSION"
        )
    return str(version.tags[RUN_TAG])


def _version_of(uri: str) -> ModelVersion | None:
    name, _, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = name.partition("/")
    if not uri.startswith("models:/") or bool(alias) == bool(number):
        return None
    client = mlflow.MlflowClient()
    try:
        return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return None
