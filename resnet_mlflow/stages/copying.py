"""Action `copy` of stage `promote`: copies a version to another tracking server, file by file and unchanged."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import digest_of_all, digests_of
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.stages.model_card import CARD_TAG, load_card, with_link
from resnet_mlflow.stages.version_roles import DIGEST_TAG, DIGESTS_FILE, VERSION_TAGS, check_package, give_roles
from resnet_mlflow.tracking import (
    CHALLENGER,
    CHAMPION,
    WITHDRAWN_TAG,
    History,
    Ledger,
    chosen_experiment,
    download_model,
    log_copy,
    model_id_of,
    numbered_version,
    other_store,
    promotion_lock,
    read_history,
    register,
    rewrite_version,
    stage_run,
    store_uri,
    version_with_alias,
    versions_of,
    without_password,
)

logger = logging.getLogger(__name__)

ACTION, ORIGIN_TAG, COPIED_TAG = "copy", "copied_from", "copied_to"
# Tags that refer to the store of a version.
_OF_THE_STORE = ("history.", "replaced_by_", "held_against_", WITHDRAWN_TAG, ORIGIN_TAG, COPIED_TAG, CARD_TAG)


@dataclass(frozen=True)
class _Parcel:
    """A version in transit.

    Attributes:
        version: The version in its original registry.
        files: Its files on this machine.
        digests: Digests of these files by path.
        history: History of its model in the original store.
        card: Its model card, by file name.
        is_champion: Whether it is champion in the original store.
        origin: Its origin in words.
    """

    version: ModelVersion
    files: Path
    digests: Mapping[str, str]
    history: History
    card: Mapping[str, str]
    is_champion: bool
    origin: str

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of the copy."""
        kept = {tag: value for tag, value in self.version.tags.items() if not tag.startswith(_OF_THE_STORE)}
        return kept | {ORIGIN_TAG: self.origin, DIGEST_TAG: digest_of_all(self.digests)}


def copy_version(config: PromoteConfig, name: str) -> None:
    """Copy a version to another store, where it gets the same alias as here; files are compared by SHA-256.

    Raises:
        InputError: If the version does not exist, its files are not the packaged ones, or the other store cannot be
            reached or returns different files.
    """
    if not config.target_uri or config.target_uri.rstrip("/") == store_uri().rstrip("/"):
        raise InputError(
            f"target_uri must be another tracking server or store than {without_password(store_uri())}, got "
            f"{without_password(config.target_uri)!r}; write http://HOST:5000 or sqlite:///PATH/mlflow.db"
        )
    champion, experiment = version_with_alias(name, CHAMPION), str(chosen_experiment().name)
    version = numbered_version(name, config.model_version) if config.model_version else champion
    if version is None:
        got = f"version {config.model_version}" if config.model_version else f"no {CHAMPION}"
        raise InputError(f"copy needs a version, got {got} of {name}; promote a classifier first")
    target = without_password(config.target_uri)
    with scratch_folder() as folder:
        files = download_model(model_id_of(version), folder)
        digests, is_champion = digests_of(files), champion is not None and champion.version == version.version
        check_package(version, digests)
        logger.info("copy:      version %s of %s (%d files) to %s", version.version, name, len(digests), target)
        if config.dry_run:
            logger.info("nothing was changed, because dry_run is true")
            return
        origin = f"{without_password(store_uri())} version {version.version}"
        parcel = _Parcel(version, files, digests, read_history(name), load_card(version), is_champion, origin)
        with other_store(config.target_uri, experiment), promotion_lock(name):
            number = _unpack(config, parcel)
    rewrite_version(version, {COPIED_TAG: f"{target} version {number}"})
    role = CHAMPION if is_champion else CHALLENGER
    logger.info("%s version %s of %s is %s; all digests are equal", name, number, target, role)


def _unpack(config: PromoteConfig, parcel: _Parcel) -> str:
    """Register a parcel in the current store and return the number of its version."""
    name, present = parcel.version.name, version_with_alias(parcel.version.name, CHAMPION)
    ledger, wanted = Ledger(name), digest_of_all(parcel.digests)
    same = [one for one in versions_of(name) if one.tags.get(DIGEST_TAG) == wanted]
    own = config.model_copy(update={"target_uri": without_password(config.target_uri)})
    with stage_run("promote", own, f"copy {name}", {ORIGIN_TAG: parcel.origin}) as run:
        with run.artifacts() as folder:
            (folder / "origin").mkdir()
            lines = "".join(f"{entry.line}\n" for entry in parcel.history.entries)
            (folder / "origin" / "history.jsonl").write_text(lines, encoding="utf-8")
            for file, text in parcel.card.items():
                (folder / file).write_text(text, encoding="utf-8")
        run.log_json(parcel.digests, DIGESTS_FILE)
        description = f"Copied from {parcel.origin}, run {run.run_id}.\n\n{parcel.version.description or ''}"
        tags = parcel.tags | ({CARD_TAG: run.run_id} if parcel.card else {})
        if same:
            version = max(same, key=lambda one: int(one.version))
        else:
            version = register(
                log_copy(parcel.files, parcel.digests),
                name,
                tags,
                with_link(description, run.run_id) if parcel.card else description,
            )
        run.set_tags(dict(zip(VERSION_TAGS, (name, version.version), strict=True)))
        replaced = None if present is None or present.version == version.version else present
        if parcel.is_champion:
            give_roles(version, replaced)
        elif replaced is not None or present is None:
            give_roles(None, version)
        why = f"copied from {parcel.origin}" + (f"; {config.reason}" if config.reason else "")
        ledger.write(run, ACTION, str(version.version), why, {ORIGIN_TAG: parcel.origin, DIGEST_TAG: wanted})
    return str(version.version)
