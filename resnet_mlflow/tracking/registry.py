"""Registered models: their versions, the run behind each, and their tags and descriptions."""

from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.artifacts import download_model_part
from resnet_mlflow.tracking.opening import store_uri
from resnet_mlflow.tracking.queries import condition

CHAMPION, CHALLENGER = "champion", "challenger"
RUN_TAG = "run_id"
# Tag of a version from a cross-validation: the run that fitted its classifier.
REFIT_TAG = "refit_run"
# Tag with the requirements on a version's answers: with others, the same run is packaged again.
ASKED_TAG = "asked_of_answers"
# Tag of a version that was rolled back: the reason.
WITHDRAWN_TAG = "withdrawn"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def run_of_model(uri: str) -> str:
    """Return the id of the run that a registered model's classifier comes from.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.

    Raises:
        InputError: If the version does not exist, or was not promoted by this project.
    """
    tags = promoted_version(uri).tags
    return str(tags.get(REFIT_TAG, tags[RUN_TAG]))


def promoted_version(uri: str) -> ModelVersion:
    """Return the version at a registered model's address; see ``run_of_model``."""
    version = _version_of(uri)
    if version is None or RUN_TAG not in version.tags:
        found = "no such version" if version is None else f"version {version.version}, which has no tag {RUN_TAG}"
        raise InputError(
            f"a model must be a promoted version in {store_uri()}, got {uri!r} ({found}); write "
            "models:/NAME@champion or models:/NAME/VERSION"
        )
    return version


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


def version_with_alias(name: str, alias: str) -> ModelVersion | None:
    """Return the version of a registered model with an alias, or None if there is none.

    Raises:
        InputError: If MLflow refuses the name.
    """
    return None if find_model(name) is None else _version_of(f"models:/{name}@{alias}")


def numbered_version(name: str, number: int | str) -> ModelVersion | None:
    """Return a version of a registered model by its number, or None if there is none."""
    return _version_of(f"models:/{name}/{number}")


def find_model(name: str) -> RegisteredModel | None:
    """Return a registered model, or None if there is none with this name.

    Raises:
        InputError: If MLflow refuses the name.
    """
    try:
        return mlflow.MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"model_name must be valid in MLflow, got {name!r} ({reason}); pass another model_name"
        ) from None


def aliases_of(name: str) -> dict[str, str]:
    """Return a registered model's versions by alias, for our own aliases; empty if there is none."""
    found = find_model(name)
    aliases = {} if found is None else found.aliases
    return {alias: str(aliases[alias]) for alias in (CHAMPION, CHALLENGER) if alias in aliases}


def versions_of(name: str) -> list[ModelVersion]:
    """Return all versions of a registered model; empty if it does not exist."""
    found = mlflow.MlflowClient().search_model_versions(condition("name", name))
    return [version for version in found if version.name == name]


def version_of_run(name: str, run_id: str, asked: str) -> ModelVersion | None:
    """Return the newest version of a registered model with a run's classifier, or None.

    Args:
        name: Name of the registered model.
        run_id: ID of the run.
        asked: Requirements on its answers, the version's tag ``ASKED_TAG``.
    """
    # By the run only: a filter cannot express every possible model name.
    found = mlflow.MlflowClient().search_model_versions(f"tags.{RUN_TAG} = '{run_id}'")
    own = (one for one in found if one.name == name and one.tags.get(ASKED_TAG) == asked)
    return max(own, key=lambda one: int(one.version), default=None)


def model_id_of(version: ModelVersion) -> str:
    """Return the id of the logged model behind a version."""
    return str(version.model_id or (version.source or "").removeprefix("models:/"))


def register(model_id: str, name: str, tags: Mapping[str, str], description: str) -> ModelVersion:
    """Create a version of a registered model from a logged model; a new name is registered first."""
    version = mlflow.register_model(f"models:/{model_id}", name, tags=dict(tags))
    mlflow.MlflowClient().update_model_version(name, version.version, description)
    return version


def rewrite_version(version: ModelVersion, tags: Mapping[str, str], description: str | None = None) -> None:
    """Set tags of a version, and its description if one is given."""
    client = mlflow.MlflowClient()
    for tag, value in tags.items():
        client.set_model_version_tag(version.name, version.version, tag, value)
    if description is not None:
        client.update_model_version(version.name, version.version, description)


def remove_tag(version: ModelVersion, tag: str) -> None:
    """Remove a tag from a version if it has it."""
    if tag in version.tags:
        mlflow.MlflowClient().delete_model_version_tag(version.name, version.version, tag)


def move_alias(version: ModelVersion, alias: str) -> None:
    """Give an alias to a version; any other version loses it."""
    mlflow.MlflowClient().set_registered_model_alias(version.name, alias, version.version)


def download_classifier(uri: str, folder: Path) -> Path:
    """Return the local copy of a promoted classifier's files, created in ``folder``, without the package's code.

    Raises:
        InputError: If the model has no classifier, or one that is too large.
    """
    return download_model_part(uri, "data/classifier", folder)
