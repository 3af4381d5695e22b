"""Evidence for a promotion: a classifier's answers on the test split, or over folds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mlflow.entities import Run

from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.promotion import Answers, Decision, FoldAnswers, decide, decide_over_folds
from resnet_mlflow.tracking import SLICE, MissingArtifactError, Predictions, load_out_of_fold, load_predictions

# Name of out-of-fold scores in descriptions and tags.
OUT_OF_FOLD = "cv"
SCORES = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence on a classifier's quality.

    Attributes:
        run: Run of the classifier, or of its cross-validation.
        answers: Answers on the test split; over folds, those of the first repeat.
        folds: Right answers over folds; None if there was a test split.
        kind: Kind of evaluation, in words.
        logged: Logged predictions for these images, with probabilities.
    """

    run: Run
    answers: Answers
    folds: FoldAnswers | None
    kind: str
    logged: Predictions

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits in the names of scores."""
        return (OUT_OF_FOLD,) if self.folds else ("val", "test")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Return the run's metrics as ``<split>/<name>``, with the limits of their intervals."""
        metrics = self.run.data.metrics
        if not self.folds:
            return metrics
        ends = ("", "_ci_low", "_ci_high")
        return {f"{OUT_OF_FOLD}/{name}{end}": metrics[f"cv_{name}{end}"] for name in SCORES for end in ends}


def is_divided(run: Run) -> bool:
    """Return whether a run is that of a cross-validation."""
    return "folds" in run.data.tags


def evidence_of(run: Run, dataset: ImageDataset) -> Evidence:
    """Return the evidence of a run on its classifier.

    Raises:
        InputError: If it has no predictions, or predictions of other classes.
    """
    try:
        found = load_out_of_fold(run.info.run_id) if is_divided(run) else None
        logged = found.predictions if found else load_predictions(run.info.run_id)
    except MissingArtifactError:
        raise InputError(
            f"a classifier's run must contain its test predictions, got none in {run.info.run_id}; fit it again"
        ) from None
    if logged.class_names != dataset.class_names:
        raise InputError(
            f"a classifier must know the classes of {dataset.name}, {list(dataset.class_names)[:10]}, got "
            f"{list(logged.class_names)[:10]} in run {run.info.run_id}; pass another model_name"
        )
    if found is None:
        return Evidence(run, _answers(logged), None, "one test split", logged)
    crossed, tags = found.crossed(), run.data.tags
    folds = FoldAnswers(crossed.item_ids, crossed.labels, crossed.correct, crossed.folds)
    kind = f"{tags['repeats']} x {tags['folds']} folds, seed {tags.get('seed')}"
    first = logged.take(np.flatnonzero(found.repeats == found.repeats.min()))
    return Evidence(run, _answers(first), folds, kind, first)


def _answers(logged: Predictions) -> Answers:
    slices = {name.removeprefix(SLICE): values for name, values in logged.known.items() if name.startswith(SLICE)}
    return Answers(logged.item_ids, logged.labels, logged.predictions, slices)


def decide_between(candidate: Evidence, champion: Evidence, metric: str, margin: float, look: int) -> Decision:
    """Return whether the candidate replaces the champion.

    Raises:
        InputError: If the two were not evaluated on the same test items, or over the same folds.
    """
    if candidate.kind != champion.kind:
        raise InputError(
            f"champion and candidate must have been evaluated in the same way, got {champion.kind} for the champion "
            f"(run "
            f"{champion.run.info.run_id}) and {candidate.kind} for the candidate; evaluate both in the same way, or "
            f"pass another model_name"
        )
    if candidate.folds and champion.folds:
        return decide_over_folds(candidate.folds, champion.folds, metric, margin, look)
    return decide(candidate.answers, champion.answers, metric, margin, look)
