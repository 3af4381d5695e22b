"""The run for a promotion: the named one, or the best in an experiment by validation."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Experiment, Run

from resnet_mlflow.backbones.complexity import backbone_complexity, is_countable
from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import (
    RUN_TAG,
    WITHDRAWN_TAG,
    chosen_experiment,
    experiment_name,
    find_runs,
    get_run,
    versions_of,
)

logger = logging.getLogger(__name__)

CANDIDATE_STAGES = ("fit_head", "finetune")
# Input side in pixels of runs that do not record theirs.
USUAL_SIZE = 224


@dataclass(frozen=True)
class Candidate:
    """A run with a classifier that may become champion.

    Attributes:
        run: The run.
        remarks: How it was chosen, for the version's tags: ``experiment``, and ``tie`` if others are equally good.
    """

    run: Run
    remarks: Mapping[str, str]


def find_candidate(config: PromoteConfig, dataset: ImageDataset, model_name: str) -> Candidate:
    """Return the run for a promotion.

    Args:
        config: Names the run, or an experiment whose best run is taken.
        dataset: The dataset that it must be fitted on.
        model_name: Name of the model; runs with a rolled-back version of it are taken only if named.

    Raises:
        InputError: If there is none, or the named one is not a candidate.
    """
    experiment = chosen_experiment(config.experiment)
    return _named(config, dataset, experiment) if config.run_id else _best(config, dataset, experiment, model_name)


def _best(config: PromoteConfig, dataset: ImageDataset, experiment: Experiment, model_name: str) -> Candidate:
    """Return the finished run with the highest validation score.

    Cross-validated configurations are candidates only if no run has a fixed split, since their scores are on other
    images.
    """
    withdrawn = _withdrawn(model_name)
    runs = [run for run in _fitted_on(dataset, experiment.experiment_id) if run.info.run_id not in withdrawn]
    metric = f"val/{config.metric}"
    found = [run for run in runs if metric in run.data.metrics]
    divided = [run for run in runs if f"cv_val_{config.metric}" in run.data.metrics]
    if found and divided:
        logger.info(
            "%d cross-validated configurations are ignored, because there are runs on a fixed split", len(divided)
        )
    if not found:
        metric, found = f"cv_val_{config.metric}", divided
    if not found:
        raise _none(dataset, experiment, withdrawn)
    for run_id, why in withdrawn.items():
        logger.info("skipped run %s, whose version was rolled back (%s); pass run_id=%s to use it", run_id, why, run_id)
    score = max(run.data.metrics[metric] for run in found)
    run, tie = _of_equals([run for run in found if run.data.metrics[metric] == score], metric, score)
    return Candidate(run, {"experiment": str(experiment.name)} | ({"tie": tie} if tie else {}))


def _fitted_on(dataset: ImageDataset, *experiment_ids: str) -> list[Run]:
    return [
        run
        for stage in CANDIDATE_STAGES
        for run in find_runs({"stage": stage, "dataset_digest": dataset.digest}, experiment_ids=experiment_ids)
        if "continued_in" not in run.data.tags
    ]


def _withdrawn(model_name: str) -> dict[str, str]:
    """Return the reasons for rollbacks, by the run behind each version."""
    versions = versions_of(model_name)
    return {one.tags[RUN_TAG]: one.tags[WITHDRAWN_TAG] for one in versions if WITHDRAWN_TAG in one.tags}


def _of_equals(runs: Sequence[Run], metric: str, score: float) -> tuple[Run, str]:
    """Return the run to take among equal validation scores, and the rule: fewest multiply-adds, then oldest."""
    chosen = min(runs, key=lambda run: (_multiply_adds(run), run.info.start_time))
    if len(runs) == 1:
        return chosen, ""
    work = _multiply_adds(chosen)
    n_cheapest = sum(_multiply_adds(run) == work for run in runs)
    by_work = f"its backbone has the fewest multiply-adds ({work / 1e9:.2f} G per image)"
    rule = "it is the oldest" if n_cheapest == len(runs) else by_work
    if 1 < n_cheapest < len(runs):
        rule += f", and it is the oldest of {n_cheapest} such runs"
    return chosen, f"{len(runs)} runs have {metric} {score:.4f}: {rule}"


def _multiply_adds(run: Run) -> float:
    tags = run.data.tags
    backbone, size = tags.get("backbone", ""), int(tags.get("image_size", USUAL_SIZE))
    return backbone_complexity(backbone, size).macs if is_countable(backbone) else math.inf


def _none(dataset: ImageDataset, experiment: Experiment, withdrawn: Mapping[str, str]) -> InputError:
    elsewhere = Counter(experiment_name(run) for run in _fitted_on(dataset))
    others = ", ".join(f"{name} ({n})" for name, n in elsewhere.items() if name != experiment.name)
    text = f"; {len(withdrawn)} were rolled back" if withdrawn else ""
    remedy = f"pass experiment=NAME of {others}, or run_id=" if others else "run fit_head first"
    return InputError(
        f"a candidate must be a FINISHED run of {' or '.join(CANDIDATE_STAGES)} on {dataset.name} as it is now "
        f"(digest {dataset.digest}), got none in experiment {experiment.name!r}{text}; {remedy}"
    )


def _named(config: PromoteConfig, dataset: ImageDataset, experiment: Experiment) -> Candidate:
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
            f"{tags.get('dataset_digest')} for run {config.run_id}; pass the run's dataset, or fit it again"
        )
    own = experiment_name(run)
    if own != experiment.name:
        logger.info("run %s belongs to experiment %s, not to %s", config.run_id, own, experiment.name)
    return Candidate(run, {"experiment": own})
