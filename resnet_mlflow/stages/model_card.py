"""The model card of a version: collected from runs, and logged to the run that promoted it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow import __version__
from resnet_mlflow.cards.content import Facts
from resnet_mlflow.cards.render import PAGE, TEXT, to_markdown, to_page
from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.config.commands import command_of
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.energy import METRIC
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation, evaluate
from resnet_mlflow.evaluation.slices import score_slices
from resnet_mlflow.features.identity import CALIBRATION
from resnet_mlflow.stages.promotion_evidence import Evidence
from resnet_mlflow.stages.version_roles import VERSION_TAGS
from resnet_mlflow.tracking import (
    REFIT_TAG,
    MissingArtifactError,
    Predictions,
    StageRun,
    find_runs,
    get_run,
    load_class_counts,
    load_config,
    load_digests,
    load_json,
    load_text,
    numbered_version,
    rewrite_version,
    run_address,
)

CARD_TAG = "model_card_run"
POWER = "power_curve.json"
_ROLES = {"train": "training", "val": "validation", CALIBRATION: CALIBRATION, "test": "testing"}
_ORIGINS = {
    "dataset": "dataset_digest",
    "features": "features_key",
    "backbone": "backbone_digest",
    "commit": "mlflow.source.git.commit",
    "environment": "environment",
    "processor": "processor",
}


def log_model_card(
    run: StageRun, config: PromoteConfig, dataset: ImageDataset, evidence: Evidence, version: ModelVersion
) -> None:
    """Log the card of a version to the active run, and link it from the version's description.

    Args:
        run: Run of the promotion, after everything else has been logged to it.
        config: Configuration of the promotion.
        dataset: The dataset that the version was evaluated on.
        evidence: Evidence on its quality.
        version: The registered version.
    """
    run.flush()
    current = numbered_version(version.name, version.version)
    assert current is not None
    facts = _facts(run, config, dataset, evidence, current)
    with run.artifacts() as folder:
        (folder / PAGE).write_text(to_page(facts), encoding="utf-8")
        (folder / TEXT).write_text(to_markdown(facts), encoding="utf-8")
    description = with_link(current.description or "", run.run_id)
    rewrite_version(current, {CARD_TAG: run.run_id}, description)


def load_card(version: ModelVersion) -> dict[str, str]:
    """Return the card of a version, by file name; empty if it has none, or its run is gone."""
    run_id = version.tags.get(CARD_TAG, "")
    try:
        return {name: load_text(run_id, name) for name in (PAGE, TEXT)} if run_id else {}
    except MissingArtifactError:
        return {}


def with_link(description: str, run_id: str) -> str:
    """Return a version's description with a link to its card after the first paragraph."""
    link = f"Model card: [{PAGE}]({run_address(run_id)}/artifacts/{PAGE}), in run {run_id}."
    kept = [part for part in description.split("\n\n") if not part.startswith("Model card: ")]
    return "\n\n".join([*kept[:1], link, *kept[1:]])


def _facts(
    run: StageRun, config: PromoteConfig, dataset: ImageDataset, evidence: Evidence, version: ModelVersion
) -> Facts:
    fitted_id = version.tags.get(REFIT_TAG, evidence.run.info.run_id)
    fitted = get_run(fitted_id)
    about = dict(zip(VERSION_TAGS, (version.name, str(version.version)), strict=True))
    promotions = find_runs({"stage": "promote", **about}, status=None)
    answers = evidence.answers
    return Facts(
        model=version.name,
        version=str(version.version),
        run_name=f"{evidence.run.info.run_name}, run {evidence.run.info.run_id}",
        dataset=dataset,
        tags=version.tags,
        evaluation=_evaluation(evidence.logged),
        class_counts=_class_counts(evidence.run, dataset),
        split_digests=_split_digests(evidence.run),
        metrics=evidence.metrics,
        splits=evidence.splits,
        slices=score_slices(answers.labels == answers.predictions, {k: v.tolist() for k, v in answers.slices.items()}),
        group_by=config.group_by,
        data_license=config.data_license,
        intended_use=config.intended_use,
        # The newest value of each counts.
        promotion={name: value for one in reversed(promotions) for name, value in one.data.metrics.items()},
        robustness={
            one.info.run_id: one.data.metrics for one in find_runs({"stage": "robustness", "classifier_run": fitted_id})
        },
        power=_power([run.run_id, *(one.info.run_id for one in promotions)]),
        runs=list(_took(evidence.run, fitted)),
        commands=list(_commands(evidence.run, config)),
        origins={"resnet-mlflow": __version__} | _origins(fitted),
    )


def _class_counts(run: Run, dataset: ImageDataset) -> Mapping[str, Mapping[str, int]]:
    found = {split: load_class_counts(run, role) for split, role in _ROLES.items()}
    known = {split: counts for split, counts in found.items() if counts is not None}
    return known or {split: dataset.class_counts(split) for split in dataset.splits}


def _split_digests(run: Run) -> dict[str, str]:
    found = load_digests(run)
    return {split: found[role] for split, role in _ROLES.items() if role in found}


def _evaluation(logged: Predictions) -> Evaluation:
    index = {name: number for number, name in enumerate(logged.class_names)}
    labels = np.array([index[name] for name in logged.labels.tolist()], dtype=np.int64)
    return evaluate(labels, logged.scores, logged.item_ids, logged.class_names)


def _power(run_ids: list[str]) -> Mapping[str, Any] | None:
    for run_id in run_ids:
        try:
            return load_json(run_id, POWER)
        except MissingArtifactError:
            continue
        except InputError as error:
            return {"sentence": str(error)}  # the card's section reports what is missing
    return None


def _took(judged: Run, fitted: Run) -> Iterator[tuple[str, str, float, float | None]]:
    """Yield the work of the runs behind a classifier, with their ids, seconds and joules."""
    key = fitted.data.tags.get("features_key", "")
    extracted = find_runs({"stage": "extract", "features_key": key})[-1:] if key else []
    network = fitted.data.tags.get("backbone_run", "")
    trained = [get_run(network)] if network and network != fitted.info.run_id else []
    refitted = [fitted] if fitted.info.run_id != judged.info.run_id else []
    for did, runs in (("features", extracted), ("backbone", trained), ("fit and test", [judged]), ("refit", refitted)):
        for one in runs:
            end = one.info.end_time or one.info.start_time
            seconds = (end - one.info.start_time) / 1000
            yield f"{did}: {one.info.run_name}", one.info.run_id, seconds, one.data.metrics.get(METRIC)


def _commands(judged: Run, config: PromoteConfig) -> Iterator[str]:
    try:
        yield shlex.join(["python", *command_of(judged.data.tags.get("stage", ""), load_config(judged.info.run_id))])
    except InputError as error:
        yield f"# {error}"
    asked = {**config.model_dump(), "run_id": "RUN_ID_OF_THE_ABOVE"}
    yield shlex.join(["python", *command_of("promote", json.loads(json.dumps(asked)))])


def _origins(fitted: Run) -> dict[str, str]:
    return {name: fitted.data.tags[tag] for name, tag in _ORIGINS.items() if fitted.data.tags.get(tag)}
