"""Stage `promote`: a dataset's best classifier becomes a registered model, and champion if it beats the present one."""

import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.serving.promotion import Decision, demand_of_slices, describe_version, level_of_look
from resnet_mlflow.stages.answer_rules import make_answer_policy, remarks_of
from resnet_mlflow.stages.calibration import what_is_asked
from resnet_mlflow.stages.classifiers import RunClassifier, load_classifier
from resnet_mlflow.stages.monitor_reference import POWER_TAG, corrupted_sets, make_reference, measure_power
from resnet_mlflow.stages.other_images import Others, find_others, try_on_others
from resnet_mlflow.stages.packaging import package
from resnet_mlflow.stages.preparation import prepare_dataset
from resnet_mlflow.stages.promotion_evidence import Evidence, decide_between, evidence_of, is_divided
from resnet_mlflow.tracking import (
    ASKED_TAG,
    CHALLENGER,
    CHAMPION,
    REFIT_TAG,
    RUN_TAG,
    StageRun,
    connect,
    find_runs,
    get_run,
    move_alias,
    promotion_lock,
    register,
    rewrite_version,
    stage_run,
    version_of_run,
    version_with_alias,
    versions_of,
)

logger = logging.getLogger(__name__)

CANDIDATE_STAGES = ("fit_head", "finetune")
# Which decision on its test split a version's last one was.
LOOK_TAG = "test_look"
COPIED_TAGS = ("dataset", "dataset_digest", "backbone", "weights", "head", "seed")


@dataclass(frozen=True)
class Promotion:
    """What was decided about a candidate; ``version`` is its number in the registry, None after a dry run."""

    model_name: str
    run_id: str
    decision: Decision
    version: int | None


def run_promote(config: PromoteConfig) -> Promotion:
    """Return the decision about the candidate, after packaging and registering it; a dry run only explains.

    Raises:
        InputError: If there is no candidate, or it cannot be compared with the champion.
    """
    connect()
    dataset = prepare_dataset(config, default_cache_dir(config.cache_dir))
    name = config.model_name or f"{dataset.short_name}-classifier"
    # Who is champion, and which candidates have versions, must stay so until this process is done.
    with nullcontext() if config.dry_run else promotion_lock(name):
        return _promote(config, dataset, name)


def _promote(config: PromoteConfig, dataset: ImageDataset, name: str) -> Promotion:
    champion = version_with_alias(name, CHAMPION)
    candidate = _named_candidate(config, dataset) if config.run_id else _best_candidate(config, dataset)
    evidence = evidence_of(candidate, dataset)
    asked, others = what_is_asked(config, dataset), find_others(config, dataset, is_divided=is_divided(candidate))
    corrupted_sets(config)  # what cannot be measured is refused before anything is done
    decision = _decide(config, dataset, evidence, champion)
    _explain(config, evidence, champion, decision)
    if config.dry_run:
        return Promotion(name, candidate.info.run_id, decision, None)
    tags = {tag: candidate.data.tags[tag] for tag in COPIED_TAGS if tag in candidate.data.tags}
    name_of_run, own = f"promote {dataset.short_name}", {**tags, "candidate": candidate.info.run_id}
    with stage_run("promote", config, name_of_run, own) as run:
        version = version_of_run(name, candidate.info.run_id, asked)
        written = tags | _decision_tags(config, evidence, champion, decision) | {ASKED_TAG: asked}
        if version is None:
            version = _register(run, config, dataset, name, evidence, decision, written)
        elif champion is None or version.version != champion.version:
            rewrite_version(version, written, _description(evidence, decision, version.tags))
        if config.power_curve and POWER_TAG not in version.tags:
            _measure_power(run, config, evidence, version)
        if others:
            _try_on_others(run, config, evidence, version, others)
        _move_aliases(version, champion, decision)
    logger.info("%s version %s is %s", name, version.version, CHAMPION if decision.promote else CHALLENGER)
    return Promotion(name, candidate.info.run_id, decision, int(version.version))


def _register(
    run: StageRun,
    config: PromoteConfig,
    dataset: ImageDataset,
    name: str,
    evidence: Evidence,
    decision: Decision,
    tags: dict[str, str],
) -> ModelVersion:
    """Return the version that the candidate's classifier was packaged and registered as."""
    here, fitted = {"cache_dir": config.cache_dir}, evidence.run
    if is_divided(fitted):
        from resnet_mlflow.stages.refits import refit  # torch takes seconds to import

        fitted = refit(fitted, here)
        tags[REFIT_TAG] = fitted.info.run_id
    classifier = load_classifier(fitted.info.run_id, here)
    policy = make_answer_policy(run, config, classifier)
    for remark in remarks_of(policy.tags):
        logger.info("promise:   %s", remark)
    reference = make_reference(classifier, policy.rules)
    model_id = package(classifier, dataset, policy.rules, reference)
    return register(model_id, name, tags | policy.tags, _description(evidence, decision, policy.tags))


def _measure_power(run: StageRun, config: PromoteConfig, evidence: Evidence, version: ModelVersion) -> None:
    """Log how soon monitor notices corruptions, and write it on the version."""
    classifier = _classifier_of(config, evidence, version)
    told = measure_power(run, config, classifier, f"models:/{version.name}/{version.version}")
    if told:
        logger.info("monitor:   %s", told)
        rewrite_version(version, {POWER_TAG: told})


def _classifier_of(config: PromoteConfig, evidence: Evidence, version: ModelVersion) -> RunClassifier:
    run_id = version.tags.get(REFIT_TAG, evidence.run.info.run_id)
    return load_classifier(run_id, {"cache_dir": config.cache_dir})


def _try_on_others(
    run: StageRun, config: PromoteConfig, evidence: Evidence, version: ModelVersion, others: Others
) -> None:
    """Log how well scores tell other images from the classifier's own, and write it on the version."""
    found = try_on_others(run, config, _classifier_of(config, evidence, version), others)
    told = {source: {name: round(one.auroc, 4) for name, one in scores.items()} for source, scores in found.items()}
    rewrite_version(version, {"ood_auroc": json.dumps(told)})


def _description(evidence: Evidence, decision: Decision, tags: Mapping[str, str]) -> str:
    title = f"{evidence.run.info.run_name}, run {evidence.run.info.run_id}"
    if is_divided(evidence.run):
        title += "; fitted on all images, scores are those of the cross-validation"
    return describe_version(
        title, evidence.metrics, evidence.answers, decision.reason, evidence.splits, remarks_of(tags)
    )


def _best_candidate(config: PromoteConfig, dataset: ImageDataset) -> Run:
    """Return the finished run with the highest validation score; of equal ones the oldest.

    Cross-validated configurations are candidates where no run has a fixed split: their scores are of other images.
    """
    runs = [
        run
        for stage in CANDIDATE_STAGES
        for run in find_runs({"stage": stage, "dataset_digest": dataset.digest})
        if "continued_in" not in run.data.tags
    ]
    metric = f"val/{config.metric}"
    found = [run for run in runs if metric in run.data.metrics]
    divided = [run for run in runs if f"cv_val_{config.metric}" in run.data.metrics]
    if found and divided:
        logger.info("%d cross-validated configurations are no candidates beside runs of a fixed split", len(divided))
    if not found:
        metric, found = f"cv_val_{config.metric}", divided
    if not found:
        raise InputError(
            f"a candidate must be a FINISHED run of {' or '.join(CANDIDATE_STAGES)} on {dataset.name} as it is now "
            f"(digest {dataset.digest}), got none; run fit_head first"
        )
    return max(found, key=lambda run: (run.data.metrics[metric], -run.info.start_time))


def _named_candidate(config: PromoteConfig, dataset: ImageDataset) -> Run:
    run = get_run(config.run_id)
    tags = run.data.tags
    if tags.get("stage") not in CANDIDATE_STAGES or run.info.status != "FINISHED" or "continued_in" in tags:
        raise InputError(
            f"a candidate must be a FINISHED run of {' or '.join(CANDIDATE_STAGES)}, got run {config.run_id} "
            f"({tags.get('stage', 'no stage of ours')}, {run.info.status}); list them in MLflow by tags.stage"
        )
    if tags.get("dataset_digest") != dataset.digest:
        raise InputError(
            f"the candidate's dataset must be {dataset.name} as it is now (digest {dataset.digest}), got digest "
            f"{tags.get('dataset_digest')} for run {config.run_id}; pass its dataset, or fit it again"
        )
    return run


def _decide(
    config: PromoteConfig, dataset: ImageDataset, evidence: Evidence, champion: ModelVersion | None
) -> Decision:
    candidate = evidence.run
    if champion is None:
        return Decision(True, f"first {CHAMPION} of its name")
    champion_id = champion.tags.get(RUN_TAG)
    if champion_id is None:
        raise InputError(
            f"the champion must be a version that promote made, got version {champion.version} of {champion.name} "
            f"without a tag {RUN_TAG}; take its alias away, or pass another model_name"
        )
    if champion_id == candidate.info.run_id:
        return Decision(True, f"the candidate is {CHAMPION} already, as version {champion.version}")
    others = evidence_of(get_run(champion_id), dataset)
    if (then := champion.tags.get("dataset_digest")) != dataset.digest:
        raise InputError(
            f"champion and candidate must have the same dataset, got digest {then} for version {champion.version} of "
            f"{champion.name} and {dataset.digest} for {dataset.name}; fit the champion's classifier on the new "
            "images, or pass another model_name"
        )
    look = _count_looks(champion, candidate.info.run_id, dataset.digest)
    decision = decide_between(evidence, others, config.metric, config.margin, look)
    if config.slices == "ignore":
        return decision
    return demand_of_slices(decision, evidence.answers, others.answers, config.slices)


def _count_looks(champion: ModelVersion, candidate_id: str, digest: str) -> int:
    """Return which decision on a test split the coming one is, by what the versions of the model say.

    Asking again about the same two classifiers is no new look: it gives the answer that it gave.
    """
    looks = [0]
    for version in versions_of(champion.name):
        if version.tags.get("dataset_digest") != digest or "compared_with_run" not in version.tags:
            continue
        look = int(version.tags.get(LOOK_TAG, 1))
        if version.tags.get(RUN_TAG) == candidate_id and version.tags["compared_with_run"] == champion.tags[RUN_TAG]:
            return look
        looks.append(look)
    # Versions of before this was counted have no number; each of them was one look at least.
    return 1 + max(len(looks) - 1, *looks)


def _explain(config: PromoteConfig, evidence: Evidence, champion: ModelVersion | None, decision: Decision) -> None:
    candidate, metrics = evidence.run, evidence.metrics
    scores = ", ".join(
        f"{split} {config.metric} {metrics[f'{split}/{config.metric}']:.4f}" for split in evidence.splits
    )
    logger.info("candidate: %s, run %s (%s)", candidate.info.run_name, candidate.info.run_id, scores)
    if champion is not None:
        logger.info("champion:  version %s, run %s", champion.version, champion.tags.get(RUN_TAG))
    logger.info("decision:  %s (%s)", CHAMPION if decision.promote else CHALLENGER, decision.reason)
    if config.dry_run:
        logger.info("nothing was changed: dry_run is true")


def _decision_tags(
    config: PromoteConfig, evidence: Evidence, champion: ModelVersion | None, decision: Decision
) -> dict[str, str]:
    metrics = evidence.metrics
    tags = {RUN_TAG: evidence.run.info.run_id, "metric": config.metric, "margin": f"{config.margin:g}"}
    for split in evidence.splits:
        low, high = (metrics[f"{split}/{config.metric}_ci_{end}"] for end in ("low", "high"))
        tags[f"{split}_{config.metric}"] = f"{metrics[f'{split}/{config.metric}']:.4f}"
        tags[f"{split}_{config.metric}_interval"] = f"{low:.4f} to {high:.4f}"
    tags["reason"] = decision.reason
    if champion is not None and decision.difference is not None:
        low, high = decision.difference.interval
        tags |= {
            "compared_with_version": str(champion.version),
            "compared_with_run": champion.tags[RUN_TAG],
            "test_difference": f"{decision.difference.difference:+.4f}",
            "test_difference_interval": f"{low:+.4f} to {high:+.4f}",
            "test_difference_level": f"{level_of_look(decision.look):.4g}",
            LOOK_TAG: str(decision.look),
        }
    return tags


def _move_aliases(version: ModelVersion, champion: ModelVersion | None, decision: Decision) -> None:
    """Give the winner ``champion`` and the loser ``challenger``."""
    if champion is not None and champion.version == version.version:
        return
    loser = champion if decision.promote else version
    if loser is not None:
        move_alias(loser, CHALLENGER)
    if decision.promote:
        move_alias(version, CHAMPION)
    if champion is not None:
        key = "replaced_by_version" if decision.promote else "held_against_version"
        rewrite_version(champion, {key: str(version.version), f"{key}_reason": decision.reason})
