"""Roles of champion and challenger: common parts of all actions on a registered model."""

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import digest_of_all
from resnet_mlflow.tracking import CHALLENGER, CHAMPION, WITHDRAWN_TAG, move_alias, remove_tag

# A version's tag: the digest of all its files, which its run has individually.
DIGEST_TAG, DIGESTS_FILE = "files_digest", "package_digests.json"
# A run's tag: the version that it concerned.
VERSION_TAGS = ("model_name", "model_version")


def give_roles(champion: ModelVersion | None, challenger: ModelVersion | None) -> None:
    """Move the aliases, the challenger's first, so that the served version changes last. None leaves an alias."""
    if challenger is not None:
        move_alias(challenger, CHALLENGER)
    if champion is not None:
        move_alias(champion, CHAMPION)
        remove_tag(champion, WITHDRAWN_TAG)


def check_package(version: ModelVersion, digests: dict[str, str]) -> None:
    """Refuse a version whose files differ from the packaged ones; versions from before 0.2.0 have no digest.

    Args:
        version: The registered version.
        digests: Digests of its current files, by path.

    Raises:
        InputError: If they differ.
    """
    expected, found = version.tags.get(DIGEST_TAG), digest_of_all(digests)
    if expected not in (None, found):
        raise InputError(
            f"the files of version {version.version} of {version.name} must be unchanged since packaging (digest "
            f"{expected}), got {found}; restore them in the store, or use another version"
        )
