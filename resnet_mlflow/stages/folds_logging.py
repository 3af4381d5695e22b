"""Logging for a cross-validation's run: scores over folds with intervals, and all out-of-fold predictions."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from mlflow.entities import Run

from resnet_mlflow.config.cross_validation import CrossValidationConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.folds import pool_names, pool_of
from resnet_mlflow.evaluation.scores import Evaluation, evaluate
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.review import RUN_RULES, TAG
from resnet_mlflow.stages.preparation import Inputs, track_items
from resnet_mlflow.stages.reporting import Outcome, write_evaluation
from resnet_mlflow.statistics import ResampledScore, cross_validated_score, resampled_score
from resnet_mlflow.tracking import OUT_OF_FOLD, OutOfFold, Predictions, StageRun

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# Scores that can be computed item by item, and whether classes have equal weight in them.
COUNTED = {"accuracy": False, "balanced_accuracy": True}
UNBOUNDED = ("nll",)
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")


@dataclass(frozen=True)
class FoldRun:
    """A finished fold: its number, its run, and its predictions for the held-out images."""

    repeat: int
    fold: int
    run: Run
    predictions: Predictions


def log_folds(
    run: StageRun, inputs: Inputs, config: CrossValidationConfig, folds: Sequence[FoldRun], title: str
) -> Outcome:
    """Log the scores over folds, the out-of-fold predictions and their inputs, and return the scores.

    Args:
        run: The run of the configuration.
        inputs: Inputs for the whole dataset.
        config: Gives the number of folds.
        folds: Folds of all repeats.
        title: First words of the note.
    """
    import pandas as pd

    pool, names = pool_of(inputs.dataset), "+".join(pool_names(inputs.dataset))
    inputs = replace(_over_pool(inputs, pool), n_undecodable=_n_undecodable(inputs, folds))
    pooled = _pooled(folds)
    evaluation = _evaluate(pooled.predictions, inputs.dataset.class_names)
    scores = _scores(config.folds, folds, pooled, inputs.dataset.class_names)
    metrics = dict(_metrics(scores, evaluation)) | _means(folds)
    tracked = track_items(run, inputs, "pool", pool.labels, pool.item_ids, "cross-validation")
    run.log_metrics(metrics, dataset=tracked)
    items = pd.DataFrame(dict(pooled.predictions.known)) if pooled.predictions.known else None
    frame = evaluation.predictions_frame(items).assign(fold=pooled.folds, repeat=pooled.repeats)
    with run.artifacts() as folder:
        write_evaluation((folder / OUT_OF_FOLD).parent, evaluation, frame)
        _table(folds).to_csv((folder / OUT_OF_FOLD).parent / "folds.csv", index=False)
    counted = ("n_skipped_images", "duplicates_across_splits")
    accuracy = scores["accuracy"]
    low, high = accuracy.interval
    description = f"cross-validation {accuracy.mean:.3f} ({low:.3f} to {high:.3f})"
    run.set_tags({name: inputs.tags[name] for name in counted} | {"pool": names, "accuracy": description})
    n_images = len(pooled.predictions.labels) // config.repeats
    run.log_note(_note(title, inputs, config, scores, metrics, n_images))
    _repeat_warnings(run, folds)
    logger.info(
        "%s, %d x %d folds: accuracy %.4f (95 %% interval %.4f to %.4f), run %s",
        *(title, config.repeats, config.folds, accuracy.mean, low, high, run.run_id),
    )
    return Outcome(run.run_id, metrics)


def _over_pool(inputs: Inputs, pool: ImageSplit) -> Inputs:
    """Return the inputs with the pool as one split: copies within it are in the same fold, and so are not leaks."""
    given = {} if inputs.dataset.test_is_drawn else {"test": inputs.dataset.splits["test"]}
    return replace(inputs, dataset=replace(inputs.dataset, splits={"pool": pool, **given}))


def _n_undecodable(inputs: Inputs, folds: Sequence[FoldRun]) -> int:
    counts = (int(one.run.data.tags.get("n_skipped_images", 0)) - inputs.dataset.n_skipped for one in folds)
    return max(0, *counts)


def _pooled(folds: Sequence[FoldRun]) -> OutOfFold:
    """Return the predictions of all folds: every image once per repeat."""
    parts = ("item_ids", "labels", "predictions", "scores")
    item_ids, labels, predictions, scores = (
        np.concatenate([getattr(one.predictions, name) for one in folds]) for name in parts
    )
    # Only slices that all folds have; every item was in the test split of a fold.
    names = set.intersection(*(set(one.predictions.known) for one in folds)) - {"split"}
    ordered = [name for name in folds[0].predictions.known if name in names]
    known = {name: np.concatenate([one.predictions.known[name] for one in folds]) for name in ordered}
    held, repeats = (
        np.concatenate([np.full(len(one.predictions.labels), getattr(one, name)) for one in folds])
        for name in ("fold", "repeat")
    )
    class_names = folds[0].predictions.class_names
    return OutOfFold(Predictions(item_ids, labels, predictions, scores, class_names, known), held, repeats)


def _evaluate(predictions: Predictions, class_names: tuple[str, ...]) -> Evaluation:
    index = {name: label for label, name in enumerate(class_names)}
    labels = [index[name] for name in predictions.labels.tolist()]
    return evaluate(labels, predictions.scores, predictions.item_ids, class_names)


def _scores(
    n_folds: int, folds: Sequence[FoldRun], pooled: OutOfFold, class_names: tuple[str, ...]
) -> dict[str, ResampledScore]:
    """Return every test metric that all folds have, over folds, by its name without the split."""
    crossed = pooled.crossed()
    found = {
        name: cross_validated_score(crossed.correct, crossed.folds, classes=crossed.labels if balanced else None)
        for name, balanced in COUNTED.items()
    }
    # Folds may agree by chance: the error over single images is a lower bound.
    least = _evaluate(_first_repeat(folds), class_names).intervals
    for name in _shared(folds, "test/"):
        if name not in found:
            score = resampled_score([one.run.data.metrics[f"test/{name}"] for one in folds], n_folds)
            low, high = score.interval
            low, high = min(low, least.get(name, (low, high))[0]), max(high, least.get(name, (low, high))[1])
            found[name] = replace(score, interval=(max(low, 0.0), high if name in UNBOUNDED else min(high, 1.0)))
    return found


def _first_repeat(folds: Sequence[FoldRun]) -> Predictions:
    return _pooled([one for one in folds if one.repeat == 0]).predictions


def _shared(folds: Sequence[FoldRun], prefix: str) -> list[str]:
    names = set.intersection(*(set(one.run.data.metrics) for one in folds))
    return sorted(
        name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and not name.endswith(("_ci_low", "_ci_high"))
    )


def _metrics(scores: Mapping[str, ResampledScore], pooled: Evaluation) -> Iterator[tuple[str, float]]:
    for name, score in scores.items():
        yield from ((f"cv_{name}", score.mean), (f"cv_{name}_std", score.std))
        yield from ((f"cv_{name}_ci_{end}", score.interval[i]) for i, end in enumerate(("low", "high")))
    yield from ((f"cv_pooled_{name}", value) for name, value in pooled.metrics.items())


def _means(folds: Sequence[FoldRun]) -> dict[str, float]:
    """Return means over folds of validation scores, by which configurations are chosen, and of seconds."""

    def mean(name: str) -> float:
        return float(np.mean([one.run.data.metrics[name] for one in folds]))

    found = {f"cv_val_{name}": mean(f"val/{name}") for name in _shared(folds, "val/") if "/" not in name}
    return found | {f"time/{name}": mean(f"time/{name}") for name in _shared(folds, "time/")}


def _table(folds: Sequence[FoldRun]) -> "pd.DataFrame":
    import pandas as pd

    names = [f"{split}/{name}" for split in ("test", "val") for name in _shared(folds, f"{split}/")]
    rows = [
        {"repeat": one.repeat, "fold": one.fold, "run_id": one.run.info.run_id, "n_images": len(one.predictions.labels)}
        | {name: one.run.data.metrics[name] for name in names}
        for one in folds
    ]
    return pd.DataFrame(rows)


def _repeat_warnings(run: StageRun, folds: Sequence[FoldRun]) -> None:
    """Log the folds' warnings on the run of the configuration, each in the words of the first fold that has it."""
    found: dict[str, str] = {}
    for code in RUN_RULES:
        clauses = [one.run.data.tags[f"{TAG}{code}"] for one in folds if f"{TAG}{code}" in one.run.data.tags]
        if clauses:
            found[code] = clauses[0] + (f" (in {len(clauses)} of {len(folds)} folds)" if len(folds) > 1 else "")
    run.log_warnings(found, {code: RUN_RULES[code].message([text]) for code, text in found.items()})


def _note(
    title: str,
    inputs: Inputs,
    config: CrossValidationConfig,
    scores: Mapping[str, ResampledScore],
    metrics: Mapping[str, float],
    n_images: int,
) -> str:
    rows = [
        [
            name,
            f"{score.mean:.4f}",
            "{:.4f} to {:.4f}".format(*score.interval),
            f"{score.std:.4f}",
            f"{metrics[f'cv_pooled_{name}']:.4f}",
        ]
        for name, score in ((name, scores[name]) for name in SHOWN)
    ]
    table = markdown_table(["score", "mean over folds", "95 % interval", "deviation over folds", "pooled"], rows)
    given = inputs.dataset.splits.get("test")
    untouched = f" The dataset's own test split ({len(given)} images) was not used." if given else ""
    times = "once" if config.repeats == 1 else f"{config.repeats} times"
    said = (
        f"Each of {n_images} images was predicted {times} by a classifier that had not seen it ({config.repeats} x "
        f"{config.folds} folds). Everything was chosen within each fold's training images. Intervals: corrected "
        f"resampled t "
        f"(Nadeau and Bengio).{untouched}"
    )
    heading = f"**{title}**, cross-validated on {inputs.dataset.name}, {inputs.weights.label}, {inputs.image_size} px"
    return "\n\n".join([heading, said, "\n".join(table), *inputs.remarks])
