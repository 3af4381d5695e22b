"""Who is champion and who challenger: what all actions on a registered model have in common."""

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import digest_of_all
from resnet_mlflow.tracking import CHALLENGER, CHAMPION, WITHDRAWN_TAG, move_alias, remove_tag

# Of a version: the digest of all its files, which its run has one by one.
DIGEST_TAG, DIGESTS_FILE = "files_digest", "package_digests.json"
# Of a run: which version it was about.
VERSION_TAGS = ("model_name", "model_version")


def give_roles(champion: ModelVersion | None, challenger: ModelVersion | None) -> None:
    """Give the aliases, the challenger's first: whoever is served changes last. None: the alias stays where it is."""
    if challenger is not None:
        move_alias(challenger, CHALLENGER)
    if champion is not None:
        move_alias(champion, CHAMPION)
        remove_tag(champion, WITHDRAWN_TAG)


def check_package(version: ModelVersion, digests: dict[str, str]) -> None:
    """Refuse a version whose files are others than those that were packaged; versions of before 0.2.0 tell no digest.

    Args:
        version: As it is registered.
        digests: Of its files as they are, by path.

    Raises:
        InputError: If they are others.
    """
    expected, found = version.tags.get(DIGEST_TAG), digest_of_all(digests)
    if expected not in (None, found):
        raise InputError(
            f"the files of version {version.version} of {version.name} must be unchanged since packaging (digest "
            f"{expected}), got {found}; restore them in the store, or use another version"
        )
