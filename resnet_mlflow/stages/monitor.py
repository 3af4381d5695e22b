"""Stage `monitor`: whether images still resemble those that a registered classifier was promoted on."""

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import MonitorConfig
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.paths import user_path
from resnet_mlflow.markdown import markdown_table, plain
from resnet_mlflow.monitoring.changes import Change, Pool, is_noticed
from resnet_mlflow.monitoring.observed import Meter, observe
from resnet_mlflow.monitoring.page import Facts, render_page
from resnet_mlflow.monitoring.reference import Reference
from resnet_mlflow.monitoring.source import Source, check_enough, find_source, read_answers
from resnet_mlflow.monitoring.strange import strangest
from resnet_mlflow.serving.classifier import Classifier
from resnet_mlflow.serving.looks import level_of_alarm
from resnet_mlflow.stages.monitor_reference import POWER_TAG, load_monitored
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import (
    StageRun,
    connect,
    find_runs,
    promoted_version,
    stage_run,
    start_lock,
)

logger = logging.getLogger(__name__)

COPIED_TAGS = ("dataset", "dataset_digest", "backbone", "weights", "head")
LOOK_TAG, BATCH_TAG, ALERT_TAG = "look", "batch_digest", "alert"
FOLDER = "monitor"


@dataclass(frozen=True)
class Look:
    """The result of a check.

    Attributes:
        run_id: ID of its run.
        number: Number of this look at the version, from 1.
        alert: Whether a change was detected.
        changes: Result of each test.
    """

    run_id: str
    number: int
    alert: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, eq=False)
class _Batch:
    """The images of a check.

    Attributes:
        paths: Paths of the readable images, as in predictions.
        pool: Facts about the images, with the reference.
        bad: Images that could not be read.
        description: Description of the images.
        folder: Folder that paths are relative to; None if there are only answers.
    """

    paths: list[str]
    pool: Pool
    bad: list[BadImageError]
    description: str
    folder: Path | None


def run_monitor(config: MonitorConfig) -> Look:
    """Check images and return the result, which is also logged as a run with a report.

    Raises:
        InputError: If the model or batch does not exist, the model has no reference, or the batch is too small.
    """
    connect()
    version = promoted_version(config.model)
    source = find_source(config.source, config.since, config.until)
    # By number, because an alias may move meanwhile.
    classifier, reference = load_monitored(f"models:/{version.name}/{version.version}", config.device)
    batch = _read(config, source, classifier, reference)
    with ExitStack() as stack:
        run, number = _begin(config, version, source.digest, stack)
        level = level_of_alarm(number, config.false_alarms)
        changes = batch.pool.changes(level)
        look = Look(run.run_id, number, is_noticed(changes), tuple(changes))
        _report(run, config, version, batch, look, level)
    return look


def _begin(config: MonitorConfig, version: ModelVersion, digest: str, stack: ExitStack) -> tuple[StageRun, int]:
    """Return the run of the look and its number, which is unique for the version.

    The same images keep their number: repeating a check is not a new look.
    """
    own = {"model_name": version.name, "model_version": str(version.version), "classifier_run": version.tags["run_id"]}
    with start_lock(f"monitor {version.name} {version.version}", f"a check of {version.name}"):
        looks = {
            run.data.tags.get(BATCH_TAG, ""): _number(run.data.tags.get(LOOK_TAG, ""))
            for run in find_runs({"stage": "monitor", **own}, status=None)
            # `mlflow run` ends a run as FAILED for any exit code but 0, even that of an alert.
            if run.info.status == "RUNNING" or ALERT_TAG in run.data.tags
        }
        number = looks.get(digest) or 1 + max(looks.values(), default=0)
        copied = {tag: version.tags[tag] for tag in COPIED_TAGS if tag in version.tags}
        tags = copied | own | {LOOK_TAG: number, BATCH_TAG: digest}
        name = f"monitor {version.name} v{version.version} look {number}"
        return stack.enter_context(stage_run("monitor", config, name, tags)), number


def _number(text: str) -> int:
    """Return the number in a tag; 0 if someone else has written other text there."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _read(config: MonitorConfig, source: Source, classifier: Classifier, reference: Reference) -> _Batch:
    if source.are_images:
        if config.images:
            raise InputError(
                f"images may be given only if source contains predictions, got {source.description} as source; "
                f"leave images out"
            )
        check_enough(len(source.files))
        folder = user_path(config.source, "source")
        names = [str(path.relative_to(folder)) for path in source.files]
        return _of_images(config, folder, names, source.description, classifier, reference)
    answers = read_answers(source.files, reference.class_names)
    check_enough(len(answers.paths))
    if not config.images:
        return _Batch(list(answers.paths), Pool(reference, answers.observed), [], source.description, None)
    folder = user_path(config.images, "images")
    return _of_images(config, folder, list(answers.paths), source.description, classifier, reference)


def _of_images(
    config: MonitorConfig,
    folder: Path,
    names: list[str],
    description: str,
    classifier: Classifier,
    reference: Reference,
) -> _Batch:
    """Return facts about images in files, at most ``max_images``."""
    rows = np.sort(np.random.default_rng(0).permutation(len(names))[: config.max_images])
    meter, bad = Meter(len(rows)), []
    features = np.zeros((len(rows), len(reference.space.center)), dtype=np.float32)
    is_read = np.zeros(len(rows), dtype=bool)
    with progress(len(rows), "images", in_files=True) as bar:
        blocks = classifier.features(
            [folder / names[row] for row in rows],
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            on_skip=lambda _, error: bad.append(error),
            max_pixels=config.max_pixels,
            change=meter,
        )
        for places, block in blocks:
            features[places], is_read[places] = block, True
            bar.update(len(places))
    check_enough(
        int(is_read.sum()), f" ({len(bad)} are unreadable, such as {bad[0].path}: {bad[0].reason})" if bad else ""
    )
    kept = np.flatnonzero(is_read)
    observed = observe(classifier.head, classifier.rules, features[kept], reference.space, meter.pictures[kept])
    if len(rows) < len(names):
        description += f", {len(rows)} of {len(names)} drawn at random"
    return _Batch([names[row] for row in rows[kept]], Pool(reference, observed), bad, description, folder)


def _change_json(change: Change) -> dict[str, Any]:
    """Return a change for the report's JSON; the key of its description is older than the attribute's name."""
    return {"message" if name == "description" else name: value for name, value in asdict(change).items()}


def _report(
    run: StageRun, config: MonitorConfig, version: ModelVersion, batch: _Batch, look: Look, level: float
) -> None:
    reason = _reason(look)
    facts = Facts(
        model=f"{version.name} version {version.version}",
        batch=batch.description,
        n_images=len(batch.paths),
        n_bad=len(batch.bad),
        n_reference=len(batch.pool.reference.images),
        look=look.number,
        level=level,
        false_alarms=config.false_alarms,
        alert=look.alert,
        reason=reason,
        power=version.tags.get(POWER_TAG, ""),
    )
    shown = strangest(batch.pool, look.changes, batch.paths, config.thumbnails)
    page = render_page(facts, look.changes, batch.pool, shown, batch.folder)
    content: dict[str, Any] = asdict(facts) | {
        "changes": [_change_json(one) for one in look.changes],
        "images": [asdict(one) for one in shown],
        "bad_images": {str(error.path): error.reason for error in batch.bad},
    }
    run.log_json(content, f"{FOLDER}/report.json")
    with run.artifacts() as artifacts:
        (artifacts / FOLDER).mkdir()
        (artifacts / FOLDER / "report.html").write_text(page, encoding="utf-8")
    _log(run, facts, look)


def _log(run: StageRun, facts: Facts, look: Look) -> None:
    p_values = {f"monitor/{one.name.replace(' ', '_')}/p_value": one.p_value for one in look.changes}
    counts = {"n_images": facts.n_images, "n_bad_images": facts.n_bad, "monitor/level": facts.level}
    run.log_metrics(p_values | counts)
    run.set_tags({ALERT_TAG: str(look.alert).lower(), "reason": facts.reason})
    rows = [[one.name, f"{one.p_value:.2g}", "yes" if one.noticed else "no", one.description] for one in look.changes]
    table = "\n".join(markdown_table(["what", "p", "changed", "how"], rows))
    run.log_note(f"**{plain(facts.reason)}** {plain(facts.batch)}: see `{FOLDER}/report.html`.\n\n{table}")
    logger.info("%s", facts.summary)
    for one in look.changes:
        logger.info(
            "%-13s %s (p %.2g): %s", one.name, "changed" if one.noticed else "as before", one.p_value, one.description
        )
    logger.info("%s: artifact %s/report.html of run %s", facts.reason, FOLDER, run.run_id)


def _reason(look: Look) -> str:
    changed = [change.name for change in look.changes if change.noticed]
    return f"ALERT: changed {', '.join(changed)}" if changed else "no change noticed"
