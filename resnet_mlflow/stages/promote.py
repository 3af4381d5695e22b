"""Stage `promote`: a dataset's best classifier becomes a registered model, and champion if it beats the current one.

Its other actions are in ``rollback`` and ``copying``.
"""

import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.digests import digest_of_all
from resnet_mlflow.serving.looks import Look, number_of_look
from resnet_mlflow.serving.promotion import Decision, demand_of_slices
from resnet_mlflow.stages.answer_rules import make_answer_policy, remarks_of
from resnet_mlflow.stages.calibration import what_is_asked
from resnet_mlflow.stages.candidates import find_candidate
from resnet_mlflow.stages.classifiers import RunClassifier, load_classifier
from resnet_mlflow.stages.copying import ORIGIN_TAG, copy_version
from resnet_mlflow.stages.model_card import log_model_card
from resnet_mlflow.stages.monitor_reference import POWER_TAG, corrupted_sets, make_reference, measure_power
from resnet_mlflow.stages.other_images import Others, find_others, try_on_others
from resnet_mlflow.stages.packaging import package
from resnet_mlflow.stages.preparation import prepare_dataset
from resnet_mlflow.stages.promotion_case import LOOK_TAG, Case, decision_tags, description_of, explain, facts_of, why_of
from resnet_mlflow.stages.promotion_evidence import Evidence, decide_between, evidence_of, is_divided
from resnet_mlflow.stages.rollback import roll_back
from resnet_mlflow.stages.version_roles import DIGEST_TAG, DIGESTS_FILE, VERSION_TAGS, give_roles
from resnet_mlflow.tracking import (
    ASKED_TAG,
    CHALLENGER,
    CHAMPION,
    REFIT_TAG,
    RUN_TAG,
    Ledger,
    StageRun,
    connect,
    find_model,
    get_run,
    promotion_lock,
    register,
    rewrite_version,
    stage_run,
    version_of_run,
    version_with_alias,
    versions_of,
)

logger = logging.getLogger(__name__)

COPIED_TAGS = ("dataset", "dataset_digest", "backbone", "weights", "head", "seed")


@dataclass(frozen=True)
class Promotion:
    """The decision on a candidate; ``version`` is its number in the registry, None after a dry run."""

    model_name: str
    run_id: str
    decision: Decision
    version: int | None


def run_promote(config: PromoteConfig) -> Promotion | None:
    """Package and register the candidate, and return the decision on it; a dry run only explains.

    Actions other than ``promote`` decide on no candidate, and return None.

    Raises:
        InputError: If there is no candidate, it cannot be compared with the champion, or an action is not possible.
    """
    connect()
    if config.action != "promote":
        name = config.model_name or _usual_name(prepare_dataset(config, default_cache_dir(config.cache_dir)))
        find_model(name)
        {"rollback": roll_back, "copy": copy_version}[config.action](config, name)
        return None
    dataset = prepare_dataset(config, default_cache_dir(config.cache_dir))
    name = config.model_name or _usual_name(dataset)
    # The champion, and the versions of candidates, must not change until this process is done.
    with nullcontext() if config.dry_run else promotion_lock(name):
        return _promote(config, dataset, name)


def _usual_name(dataset: ImageDataset) -> str:
    return f"{dataset.short_name}-classifier"


def _promote(config: PromoteConfig, dataset: ImageDataset, name: str) -> Promotion:
    champion = version_with_alias(name, CHAMPION)
    candidate = find_candidate(config, dataset, name)
    evidence, ledger = evidence_of(candidate.run, dataset), Ledger(name)
    asked, others = what_is_asked(config, dataset), find_others(config, dataset, is_divided=is_divided(candidate.run))
    corrupted_sets(config)  # unknown corruptions are refused before anything is done
    decision = _decide(config, dataset, evidence, champion, ledger)
    case = Case(config, dataset, name, candidate, evidence, champion, decision)
    explain(case)
    if config.dry_run:
        return Promotion(name, case.run_id, decision, None)
    copied = {tag: candidate.run.data.tags[tag] for tag in COPIED_TAGS if tag in candidate.run.data.tags}
    with stage_run("promote", config, f"promote {dataset.short_name}", {**copied, "candidate": case.run_id}) as run:
        version = version_of_run(name, case.run_id, asked)
        written = copied | decision_tags(case) | {ASKED_TAG: asked}
        if version is None:
            version = _register(run, case, written)
        elif champion is None or version.version != champion.version:
            rewrite_version(version, written, description_of(case, version.tags))
        run.set_tags(dict(zip(VERSION_TAGS, (name, version.version), strict=True)))
        if config.power_curve and POWER_TAG not in version.tags:
            _measure_power(run, config, evidence, version)
        if others:
            _try_on_others(run, config, evidence, version, others)
        log_model_card(run, config, dataset, evidence, version)
        _move_aliases(version, champion, decision)
        ledger.write(run, "promote", str(version.version), why_of(case), facts_of(case))
    logger.info("%s version %s is %s", name, version.version, CHAMPION if decision.promote else CHALLENGER)
    return Promotion(name, case.run_id, decision, int(version.version))


def _register(run: StageRun, case: Case, tags: dict[str, str]) -> ModelVersion:
    """Package and register the candidate's classifier, and return its version."""
    here, fitted = {"cache_dir": case.config.cache_dir}, case.candidate.run
    if is_divided(fitted):
        from resnet_mlflow.stages.refits import refit  # torch takes seconds to import

        fitted = refit(fitted, here)
        tags[REFIT_TAG] = fitted.info.run_id
    classifier = load_classifier(fitted.info.run_id, here)
    policy = make_answer_policy(run, case.config, classifier)
    for remark in remarks_of(policy.tags):
        logger.info("promise:   %s", remark)
    reference = make_reference(classifier, policy.rules)
    packaged = package(classifier, case.dataset, policy.rules, reference)
    run.log_json(packaged.digests, DIGESTS_FILE)
    tags |= policy.tags | {DIGEST_TAG: digest_of_all(packaged.digests)}
    return register(packaged.model_id, case.name, tags, description_of(case, policy.tags))


def _measure_power(run: StageRun, config: PromoteConfig, evidence: Evidence, version: ModelVersion) -> None:
    """Log how soon monitoring detects corruptions, and record it on the version."""
    classifier = _classifier_of(config, evidence, version)
    text = measure_power(run, config, classifier, f"models:/{version.name}/{version.version}")
    if text:
        logger.info("monitor:   %s", text)
        rewrite_version(version, {POWER_TAG: text})


def _classifier_of(config: PromoteConfig, evidence: Evidence, version: ModelVersion) -> RunClassifier:
    run_id = version.tags.get(REFIT_TAG, evidence.run.info.run_id)
    return load_classifier(run_id, {"cache_dir": config.cache_dir})


def _try_on_others(
    run: StageRun, config: PromoteConfig, evidence: Evidence, version: ModelVersion, others: Others
) -> None:
    """Log how well scores detect other images, and record it on the version."""
    found = try_on_others(run, config, _classifier_of(config, evidence, version), others)
    aurocs = {source: {name: round(one.auroc, 4) for name, one in scores.items()} for source, scores in found.items()}
    rewrite_version(version, {"ood_auroc": json.dumps(aurocs)})


def _decide(
    config: PromoteConfig, dataset: ImageDataset, evidence: Evidence, champion: ModelVersion | None, ledger: Ledger
) -> Decision:
    candidate = evidence.run
    if champion is None:
        return Decision(True, f"first {CHAMPION} of its name")
    champion_id = champion.tags.get(RUN_TAG)
    if champion_id is None:
        raise InputError(
            f"the champion must be a version created by promote, got version {champion.version} of {champion.name} "
            f"without a tag {RUN_TAG}; remove its alias, or pass another model_name"
        )
    if champion_id == candidate.info.run_id:
        return Decision(True, f"the candidate is already {CHAMPION}, as version {champion.version}")
    if ORIGIN_TAG in champion.tags:
        raise InputError(
            f"the champion must have been promoted in this store, got version {champion.version} of {champion.name}, "
            f"copied "
            f"from {champion.tags[ORIGIN_TAG]}, which has its predictions; promote there and copy, or pass another "
            "model_name"
        )
    others = evidence_of(get_run(champion_id), dataset)
    if (then := champion.tags.get("dataset_digest")) != dataset.digest:
        raise InputError(
            f"champion and candidate must have the same dataset, got digest {then} for version {champion.version} of "
            f"{champion.name} and {dataset.digest} for {dataset.name}; fit the champion's classifier on the new "
            "images, or pass another model_name"
        )
    look = number_of_look(
        _known_looks(champion.name, dataset.digest, ledger), candidate.info.run_id, champion_id, config.metric
    )
    decision = decide_between(evidence, others, config.metric, config.margin, look)
    if config.slices == "ignore":
        return decision
    return demand_of_slices(decision, evidence.answers, others.answers, config.slices)


def _known_looks(name: str, digest: str, ledger: Ledger) -> set[Look]:
    """Return the decisions on a test split that are recorded in versions and history.

    A version records only its last decision, and may be deleted; for versions older than the history, nothing else
    exists.
    """
    facts = [version.tags for version in versions_of(name)] + [entry.facts for entry in ledger.entries]
    return {
        Look(tags[RUN_TAG], tags["compared_with_run"], tags.get("metric", "accuracy"), int(tags.get(LOOK_TAG, 1)))
        for tags in facts
        if tags.get("dataset_digest") == digest and "compared_with_run" in tags
    }


def _move_aliases(version: ModelVersion, champion: ModelVersion | None, decision: Decision) -> None:
    """Give the winner ``champion`` and the loser ``challenger``."""
    if champion is not None and champion.version == version.version:
        return
    give_roles(*((version, champion) if decision.promote else (None, version)))
    if champion is not None:
        key = "replaced_by_version" if decision.promote else "held_against_version"
        rewrite_version(champion, {key: str(version.version), f"{key}_reason": decision.reason})
