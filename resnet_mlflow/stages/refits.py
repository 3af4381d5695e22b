"""Fits a cross-validated configuration on all images for serving: cross-validation yields no classifier."""

import dataclasses
import logging
from collections.abc import Mapping

from mlflow.entities import Run

from resnet_mlflow.backbones.recipes import request_of
from resnet_mlflow.config import FinetuneConfig, FitHeadConfig
from resnet_mlflow.data.folds import pool_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.classifiers import config_of_run
from resnet_mlflow.stages.finetune import finetune
from resnet_mlflow.stages.fit_head import fit_head
from resnet_mlflow.stages.preparation import Inputs, Part, compute_cache_key, prepare
from resnet_mlflow.tracking import find_runs, get_run

logger = logging.getLogger(__name__)


def refit(candidate: Run, here: Mapping[str, object]) -> Run:
    """Return the finished run of a configuration fitted on every image of its pool, without a test split.

    It is the procedure evaluated by the folds, with all images as its training part: validation is drawn from them and
    used as within folds. A finished refit is not run again.

    Args:
        candidate: Run of the cross-validation.
        here: Parameters for places on this machine, which replace those that the run was started with.

    Raises:
        InputError: If the dataset has changed since.
    """
    config = config_of_run(candidate)
    # The recipe of "random" and "auto" may have changed since.
    weights = request_of(candidate.data.tags.get("weights", "")) or config.weights
    config = config.model_copy(update={"weights": weights, **here})
    inputs, run_id = prepare(config), candidate.info.run_id
    if inputs.dataset.digest != candidate.data.tags["dataset_digest"]:
        raise InputError(
            f"the dataset of run {run_id} must be unchanged, got digest {inputs.dataset.digest} for {config.dataset}; "
            "restore the images or cross-validate again"
        )
    entry_point = candidate.data.tags["stage"]
    part = refit_part(inputs, {"entry_point": entry_point, "refit_of": run_id})
    finished = find_runs({"stage": "refit", "cache_key": compute_cache_key(entry_point, config, part)})
    if finished:
        return finished[0]
    n_images = len(part.dataset.splits["train"])
    logger.info("%s contains no classifier: fitting its configuration on all %d images", run_id, n_images)
    assert isinstance(config, FitHeadConfig | FinetuneConfig)
    outcome = fit_head(config, part) if isinstance(config, FitHeadConfig) else finetune(config, part)
    return get_run(outcome.run_id)


def refit_part(inputs: Inputs, tags: Mapping[str, object]) -> Inputs:
    """Return the inputs of a refit: every image of the pool is for training.

    Args:
        inputs: Inputs for the whole dataset.
        tags: Tags of the refit's run.
    """
    pool = pool_of(inputs.dataset)
    whole = dataclasses.replace(inputs.dataset, splits={"train": pool})
    return inputs.with_part(Part("refit", f"refit on {len(pool)} images", inputs, tags), whole)
