"""The end of every classifier's run: its model, scores, tables, figures and note."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_mlflow.config import CalibrationConfig
from resnet_mlflow.csv_text import csv_of
from resnet_mlflow.evaluation.canvas import write_png
from resnet_mlflow.evaluation.figures import write_confusion_matrix
from resnet_mlflow.evaluation.image_figures import confused_pairs_page
from resnet_mlflow.evaluation.mistakes import THUMBNAIL, mistakes_page, mistakes_table, worst_rows
from resnet_mlflow.evaluation.scores import Evaluation, evaluate
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.stages.division import log_division, seen_before
from resnet_mlflow.stages.items import Items, items_of
from resnet_mlflow.stages.preparation import Inputs, track_split
from resnet_mlflow.stages.reviewing import facts_of_fit, review_run
from resnet_mlflow.stages.slices import log_slices, slice_columns, slice_remarks
from resnet_mlflow.statistics import accuracy_interval
from resnet_mlflow.tracking import StageRun, find_test_twins, log_head

if TYPE_CHECKING:
    import pandas as pd

    from resnet_mlflow.heads.base import HeadBase

logger = logging.getLogger(__name__)

# Maximum number of training scores that are kept without being requested: 4 MB.
CHEAP_SCORES = 1_000_000


@dataclass(frozen=True)
class Outcome:
    """Result of a finished run for the stage or study that started it."""

    run_id: str
    metrics: dict[str, float]
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    n_train: int = 0


def conclude(
    run: StageRun,
    inputs: Inputs,
    head: "HeadBase",
    splits: Mapping[str, FeatureSplit],
    config: CalibrationConfig,
    title: str,
    model: str,
    times: Mapping[str, float],
    step: int = 0,
    more: Callable[[Evaluation], Mapping[str, float]] | None = None,
    scarce: bool = False,
) -> Outcome:
    """Calibrate on validation, evaluate on validation and test, and log all of it; a refit has no test split.

    Args:
        run: The active run.
        inputs: Inputs of the run.
        head: Head fitted on ``splits["train"]``.
        splits: Features of train, val and test.
        config: Says whether to calibrate scores.
        title: First words of the note.
        model: Name of the logged model.
        times: Further metrics under ``time/`` and ``throughput/``.
        step: Step of the scores; after training, the last epoch, so that MLflow treats them as the latest.
        more: Returns further metrics of an evaluation, without the split's name.
        scarce: Whether classes have few training images on purpose.
    """
    calibrated = config.calibration == "temperature"
    if calibrated:
        head.calibrate(splits["val"].features, splits["val"].labels)
    tracked = {name: track_split(run, inputs, name, split) for name, split in splits.items()}
    names = inputs.dataset.class_names
    model_id = log_head(head, splits["train"].features.shape[1], names, model, {"head": type(head).__name__})
    evaluations = {name: evaluate_head(head, splits[name], names) for name in ("val", "test") if name in splits}
    slices = slice_columns(inputs.dataset, inputs.group_by)
    items = {name: items_of(inputs.dataset, name, splits[name], slices) for name in evaluations}
    metrics: dict[str, float] = {}
    for name, evaluation in evaluations.items():
        own = split_metrics(name, evaluation)
        if more is not None:
            own |= {f"{name}/{metric}": value for metric, value in more(evaluation).items()}
        run.log_metrics(own, step=step, dataset=tracked[name], model_id=model_id)
        metrics |= own
    if "test" in splits:
        apart = _without_twins(inputs, evaluations["test"])
        run.log_metrics(apart, step=step, dataset=tracked["test"], model_id=model_id)
        metrics |= apart
    run.log_metrics(times)
    by_slice = None
    if "test" in splits:
        by_slice = log_slices(run, evaluations["test"], items["test"], tracked["test"], model_id, step)
    with run.artifacts() as folder:
        for name, evaluation in evaluations.items():
            write_evaluation(
                folder / "evaluation" / name, evaluation, evaluation.predictions_frame(items[name].frame())
            )
        if predicts_train(config.train_predictions, head, splits["train"], len(names)):
            _write_train_predictions(folder / "evaluation" / "train", inputs, head, splits["train"])
        if "test" in splits and evaluations["test"].metrics["accuracy"] < 1:
            _write_mistakes(folder, f"Worst mistakes: {title}", evaluations["test"], items["test"])
    log_division(run, inputs.dataset, splits)
    run.set_tags({"n_skipped_images": inputs.n_skipped, "accuracy": accuracy_text(metrics)})
    run.log_note(_note(title, inputs, evaluations, slice_remarks(by_slice)))
    facts = facts_of_fit(head, splits, names, calibrated=calibrated, scarce=scarce)
    review_run(run, replace(facts, seen_before=seen_before(splits)))
    scores = ", ".join(f"{name} accuracy {metrics[f'{name}/accuracy']:.4f}" for name in evaluations)
    low, high = list(evaluations.values())[-1].intervals["accuracy"]
    # A cross-validation's terminal shows folds.
    level = logging.INFO if inputs.part is None else logging.DEBUG
    logger.log(level, "%s: %s (95 %% interval %.4f to %.4f), run %s", title, scores, low, high, run.run_id)
    return Outcome(run.run_id, metrics | dict(times), evaluations, len(splits["train"].labels))


def accuracy_text(metrics: Mapping[str, float]) -> str:
    """Return validation and test accuracy with intervals in one line, shown as a column in MLflow's lists.

    Example:
        >>> accuracy_text({"val/accuracy": 0.95, "test/accuracy": 0.9, "test/accuracy_ci_low": 0.8751,
        ...                "test/accuracy_ci_high": 0.92})
        'val 0.950, test 0.900 (0.875 to 0.920)'
    """
    parts = []
    for split in ("val", "test"):
        name = f"{split}/accuracy"
        if name in metrics:
            low, high = (metrics.get(f"{name}_ci_{end}") for end in ("low", "high"))
            interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
            parts.append(f"{split} {metrics[name]:.3f}{interval}")
    return ", ".join(parts)


def evaluate_head(head: "HeadBase", split: FeatureSplit, names: tuple[str, ...]) -> Evaluation:
    """Return the scores of a fitted head on the features of a split."""
    return evaluate(split.labels, head.predict_proba(split.features), split.item_ids, names)


def split_metrics(split: str, evaluation: Evaluation) -> dict[str, float]:
    """Return an evaluation's metrics and the limits of their intervals under the schema's names."""
    metrics = {f"{split}/{name}": value for name, value in evaluation.metrics.items()}
    for name, (low, high) in evaluation.intervals.items():
        metrics |= {f"{split}/{name}_ci_low": low, f"{split}/{name}_ci_high": high}
    return metrics


def _without_twins(inputs: Inputs, evaluation: Evaluation) -> dict[str, float]:
    """Return the accuracy on test images without a twin in train; empty if no audit has searched for twins."""
    twins = find_test_twins(inputs.dataset.digest)
    if twins is None:
        return {}
    apart = ~np.isin(evaluation.item_ids, twins)
    found = {"test/n_twins": float((~apart).sum())}
    if not apart.any():
        return found
    n_correct = int((evaluation.predictions == evaluation.labels)[apart].sum())
    low, high = accuracy_interval(n_correct, int(apart.sum()))
    name = "test/accuracy_without_twins"
    return found | {name: n_correct / int(apart.sum()), f"{name}_ci_low": low, f"{name}_ci_high": high}


def predicts_train(wanted: str, head: "HeadBase", train: FeatureSplit, n_classes: int) -> bool:
    """Return whether to keep predictions of the training items: if requested, or if they cost almost nothing."""
    if wanted != "auto":
        return wanted == "always"
    from resnet_mlflow.heads.base import HeadBase

    # Other heads compare all pairs of items, which takes minutes; these take milliseconds.
    return type(head).to_torch is not HeadBase.to_torch and len(train) * n_classes <= CHEAP_SCORES


def _write_train_predictions(folder: Path, inputs: Inputs, head: "HeadBase", train: FeatureSplit) -> None:
    folder.mkdir(parents=True)
    evaluation = evaluate_head(head, train, inputs.dataset.class_names)
    slices = slice_columns(inputs.dataset, inputs.group_by)
    known = items_of(inputs.dataset, "train", train, slices).frame()
    _write_predictions(folder, evaluation.predictions_frame(known))


def write_evaluation(folder: Path, evaluation: Evaluation, predictions: "pd.DataFrame | None" = None) -> None:
    """Write confusion matrix, report and predictions into a new folder.

    Args:
        folder: The folder; it is created.
        evaluation: The evaluation to write.
        predictions: Replace the evaluation's own, with further columns.
    """
    folder.mkdir(parents=True)
    write_confusion_matrix(folder / "confusion_matrix.png", evaluation.confusion, evaluation.class_names)
    table = {"class_names": list(evaluation.class_names), "counts": evaluation.confusion.tolist()}
    _write_json(folder / "confusion_matrix.json", table, indent=None)  # for 1000 classes it has a million counts
    _write_json(folder / "classification_report.json", evaluation.report())
    _write_predictions(folder, evaluation.predictions_frame() if predictions is None else predictions)


def _write_predictions(folder: Path, frame: "pd.DataFrame") -> None:
    """Write predictions, with scores in byte-stream encoding: without repeats, dictionaries would only add size."""
    scores = list(frame.select_dtypes("float32"))
    others = [name for name in frame if name not in scores]
    path = folder / "predictions.parquet"
    frame.to_parquet(
        path, index=False, compression="zstd", use_dictionary=others, use_byte_stream_split=scores or False
    )


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    path.write_text(json.dumps(content, indent=indent, separators=None if indent else (",", ":")))


def _write_mistakes(folder: Path, title: str, evaluation: Evaluation, items: Items) -> None:
    """Write the figure of confused pairs, and the worst mistakes as a page, as Parquet and as CSV."""
    (folder / "figures").mkdir(parents=True)
    page = confused_pairs_page(evaluation, items.read_image, items.named)
    write_png(page.draw(), folder / "figures" / "confused_pairs.png")
    table = mistakes_table(evaluation, worst_rows(evaluation), items.read_image, items.paths, items.groups)
    n_wrong = int((evaluation.labels != evaluation.predictions).sum())
    place = folder / "evaluation" / items.split
    (place / "mistakes.html").write_text(mistakes_page(title, table, n_wrong), encoding="utf-8")
    table.to_parquet(place / "mistakes.parquet", index=False)
    (place / "mistakes.csv").write_text(csv_of(table.drop(columns=THUMBNAIL)), encoding="utf-8")


def _note(title: str, inputs: Inputs, evaluations: Mapping[str, Evaluation], remarks: Sequence[str]) -> str:
    lines = [
        "| split | images | accuracy | 95 % interval | balanced accuracy | macro-F1 | NLL | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, evaluation in evaluations.items():
        m = evaluation.metrics
        low, high = evaluation.intervals["accuracy"]
        lines.append(
            f"| {name} | {len(evaluation.labels)} | {m['accuracy']:.4f} | {low:.4f} to {high:.4f} | "
            f"{m['balanced_accuracy']:.4f} | {m['macro_f1']:.4f} | {m['nll']:.3f} | {m['ece']:.3f} |"
        )
    heading = f"**{title}** on {inputs.dataset.name}, {inputs.weights.label}, {inputs.image_size} px"
    return "\n\n".join([heading, "\n".join(lines), *remarks, *inputs.remarks])
