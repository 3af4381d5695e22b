"""Cross-validation: a run per fold below the run of the configuration, every image predicted once per repeat."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.data.folds import divide, fold_of_dataset
from resnet_mlflow.process import raise_if_stopped
from resnet_mlflow.stages.folds_logging import FoldRun, log_folds
from resnet_mlflow.stages.parents import parent_run
from resnet_mlflow.stages.preparation import Inputs, Part, compute_cache_key
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.tracking import find_runs, get_run, load_predictions

logger = logging.getLogger(__name__)

Divided = FitHeadConfig | FinetuneConfig | LongtailConfig


@dataclass(frozen=True)
class CrossValidation:
    """An entry point's description of its cross-validation.

    Attributes:
        stage: Name of the entry point.
        config: The given configuration, with folds.
        inputs: Inputs for the whole dataset.
        name: Name of the run, without folds.
        tags: Tags of the run.
        title: First words of the note.
        prepare: Prepares work common to all folds, within the run.
        run_fold: Maps a fold's configuration and inputs to the id of its finished run.
    """

    stage: str
    config: Divided
    inputs: Inputs
    name: str
    tags: Mapping[str, object]
    title: str
    prepare: Callable[[], object]
    run_fold: Callable[[Any, Inputs], str]


def cross_validate(work: CrossValidation) -> Outcome:
    """Return the scores over all folds; finished ones are not run again.

    Repeat ``r`` draws folds, validation and initial weights by ``seed + r``. All choices (early stopping,
    hyperparameters, temperature) are made on a validation split of the fold's training part.

    Raises:
        InputError: If the images cannot be divided like this, or another process is doing the same work.
    """
    config, inputs = work.config, work.inputs
    divisions = divide_all(config, inputs)  # Refused before a run exists.
    key = compute_cache_key(work.stage, config, inputs)
    name = f"{work.name} {config.repeats} x {config.folds} folds"
    tags = {**work.tags, "folds": config.folds, "repeats": config.repeats}
    with parent_run(work.stage, config, name, tags, key) as run:
        work.prepare()
        folds = list(_run_folds(work, divisions))
        return log_folds(run, inputs, config, folds, work.title)


def divide_all(config: Divided, inputs: Inputs) -> list[NDArray[np.int64]]:
    """Return for each repeat the fold that holds out each image of the pool."""
    return [divide(inputs.dataset, config.folds, config.seed + repeat) for repeat in range(config.repeats)]


def _run_folds(work: CrossValidation, divisions: Sequence[NDArray[np.int64]]) -> Iterator[FoldRun]:
    n_folds = work.config.folds
    for repeat, division in enumerate(divisions):
        # The same fold is the same work for any number of repeats.
        config = work.config.model_copy(update={"seed": work.config.seed + repeat, "repeats": 1})
        for fold in range(n_folds):
            raise_if_stopped()
            start = time.perf_counter()
            inputs = fold_inputs(work.inputs, division, work.stage, repeat, fold)
            finished = find_runs({"stage": "fold", "cache_key": compute_cache_key(work.stage, config, inputs)})
            run_id = finished[0].info.run_id if finished else work.run_fold(config, inputs)
            run = get_run(run_id)
            how = "finished before" if finished else f"{time.perf_counter() - start:.1f} s"
            position, accuracy = repeat * n_folds + fold + 1, run.data.metrics["test/accuracy"]
            logger.info("[%d/%d] %s: %.4f (%s)", position, n_folds * len(divisions), run.info.run_name, accuracy, how)
            yield FoldRun(repeat, fold, run, load_predictions(run_id))


def fold_inputs(inputs: Inputs, division: NDArray[np.int64], stage: str, repeat: int, fold: int) -> Inputs:
    """Return the inputs of a fold: other splits of the same images.

    Args:
        inputs: Inputs for the whole dataset.
        division: Fold that holds out each image of the pool.
        stage: Name of the entry point.
        repeat: Number of the repeat.
        fold: Number of the held-out fold.
    """
    tags = {"entry_point": stage, "repeat": repeat, "fold": fold}
    return inputs.with_part(Part("fold", f"fold {fold}", inputs, tags), fold_of_dataset(inputs.dataset, division, fold))
