"""Action `rollback` of stage `promote`: an earlier version becomes champion again, regardless of scores."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import digests_of
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.stages.version_roles import VERSION_TAGS, check_package, give_roles
from resnet_mlflow.tracking import (
    CHAMPION,
    WITHDRAWN_TAG,
    Entry,
    Ledger,
    MissingArtifactError,
    download_model,
    model_id_of,
    numbered_version,
    promotion_lock,
    rewrite_version,
    stage_run,
    version_with_alias,
    versions_of,
)

logger = logging.getLogger(__name__)

ACTION = "rollback"


def roll_back(config: PromoteConfig, name: str) -> None:
    """Make an earlier version of a model champion again, and the current champion challenger.

    The replaced version is marked: promotions skip its run unless it is named.

    Raises:
        InputError: If there is no reason, no earlier version, or that version's files are gone or changed.
    """
    if not config.reason.strip():
        raise InputError("a rollback needs a reason, got none; pass reason='night images fail'")
    with nullcontext() if config.dry_run else promotion_lock(name):
        champion = version_with_alias(name, CHAMPION)
        if champion is None:
            raise InputError(f"a rollback needs a champion of {name}, got none; promote a classifier first")
        ledger = Ledger(name)
        target = _target(config, name, champion, ledger.entries)
        _check_files(target)
        logger.info("rollback:  version %s back to version %s of %s", champion.version, target.version, name)
        if config.dry_run:
            logger.info("nothing was changed, because dry_run is true")
            return
        own = dict(zip(VERSION_TAGS, (name, target.version), strict=True))
        with stage_run("promote", config, f"rollback {name}", own) as run:
            give_roles(target, champion)
            rewrite_version(champion, {WITHDRAWN_TAG: config.reason, "replaced_by_version": str(target.version)})
            ledger.write(run, ACTION, str(target.version), config.reason, {"from_version": str(champion.version)})
    logger.info("%s version %s is %s", name, target.version, CHAMPION)


def _target(config: PromoteConfig, name: str, champion: ModelVersion, entries: Sequence[Entry]) -> ModelVersion:
    number = str(config.model_version or _champion_before(name, champion, entries))
    if number == str(champion.version):
        raise InputError(f"a rollback must go to another version, got the champion, {number}; pass model_version=")
    found = numbered_version(name, number)
    if found is None:
        known = ", ".join(sorted((str(one.version) for one in versions_of(name)), key=int))
        raise InputError(f"model_version must be a version of {name} ({known}), got {number}, which does not exist")
    return found


def _champion_before(name: str, champion: ModelVersion, entries: Sequence[Entry]) -> str:
    """Return the version that the current champion replaced when it won; a rollback does not count as a win."""
    number = str(champion.version)
    for entry in reversed(entries):
        won = entry.after.get(CHAMPION) == number != entry.before.get(CHAMPION)
        if won and entry.action != ACTION and CHAMPION in entry.before:
            return entry.before[CHAMPION]
    # Versions older than the history record their successor.
    before = [one for one in versions_of(name) if one.tags.get("replaced_by_version") == number]
    earlier = [int(one.version) for one in before if WITHDRAWN_TAG not in one.tags]
    if not earlier:
        raise InputError(
            f"a rollback needs a previous champion, got version {number} of {name}, the first; pass model_version= to "
            f"choose another"
        )
    return str(max(earlier))


def _check_files(version: ModelVersion) -> None:
    try:
        with scratch_folder() as folder:
            files = download_model(model_id_of(version), folder)
            check_package(version, digests_of(files))
    except MissingArtifactError:
        raise InputError(
            f"a rollback needs the files of version {version.version} of {version.name}, got none in the store; pass "
            f"model_version= to choose another"
        ) from None
