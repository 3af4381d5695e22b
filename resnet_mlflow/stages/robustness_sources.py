"""The classifiers in a robustness test, and the reference for their errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mlflow.entities import Run
from numpy.typing import NDArray

from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.summary import Reference
from resnet_mlflow.stages.classifiers import CLASSIFIER_STAGES, RunClassifier, load_classifier, precision_of
from resnet_mlflow.tracking import find_runs, get_run, load_corrupted_predictions, run_of_model, search_runs

# Number of class names shown for each side if two lists differ.
SHOWN_CLASSES = 10


@dataclass(frozen=True)
class Group:
    """Classifiers on the same features, so that one pass over the images is enough for all of them."""

    classifiers: tuple[RunClassifier, ...]

    @property
    def first(self) -> RunClassifier:
        """Return one of them, for their common properties."""
        return self.classifiers[0]

    @property
    def precision(self) -> str:
        """Return the precision of their features."""
        return precision_of(self.first)


def choose_runs(config: RobustnessConfig) -> list[str]:
    """Return the ids of the runs with the classifiers to test, without repeats.

    Raises:
        InputError: If none of model, runs and filter is given, or nothing matches.
    """
    if config.model:
        return [run_of_model(config.model)]
    if config.runs:
        return list(dict.fromkeys(word.strip() for word in config.runs.split(",") if word.strip()))
    if not config.filter:
        raise InputError(
            "exactly one of model, runs, filter must be given, got none; pass model=models:/NAME@champion, runs=ID,ID "
            "or "
            "filter=\"tags.dataset = 'digits'\""
        )
    found = search_runs(config.filter)
    # The same cell run twice gave the same classifier: the newest represents all.
    latest = {run.data.tags.get("cache_key", run.info.run_id): run.info.run_id for run in reversed(found) if _fits(run)}
    if not latest:
        raise InputError(
            f"filter must match a FINISHED run of {', '.join(CLASSIFIER_STAGES)}, got {config.filter!r}, which "
            f"matches {len(found)} runs, none of them such; list runs in MLflow by tags.stage"
        )
    return list(reversed(latest.values()))


def _fits(run: Run) -> bool:
    tags = run.data.tags
    is_parent = "methods" in tags or "folds" in tags  # parent of a long-tail comparison, or of folds
    finished = run.info.status == "FINISHED" and "features_key" in tags
    return tags.get("stage") in CLASSIFIER_STAGES and finished and not is_parent


def load_classifiers(run_ids: Iterable[str], config: RobustnessConfig) -> list[RunClassifier]:
    """Return the classifiers, all of one dataset.

    Raises:
        InputError: If a run has no classifier, or two have different datasets.
    """
    here = {"device": config.device, "cache_dir": config.cache_dir}
    classifiers = [load_classifier(run_id, here) for run_id in run_ids]
    for one in classifiers:
        if one.run.data.tags["stage"] == "refit" and one.inputs.dataset.test_is_drawn:
            raise InputError(
                f"a classifier must have test images, got run {one.run.info.run_id}, which was fitted on all of "
                f"{one.inputs.dataset.name}; test a run on a fixed split"
            )
    first = classifiers[0]
    for other in classifiers[1:]:
        if other.inputs.dataset.digest != first.inputs.dataset.digest:
            raise InputError(_differing(first, other))
    return classifiers


def _differing(first: RunClassifier, other: RunClassifier) -> str:
    described = [
        f"{c.inputs.dataset.name} with classes {_shown(c.class_names)} (run {c.run.info.run_id})"
        for c in (first, other)
    ]
    if first.class_names == other.class_names:
        described = [
            f"{c.inputs.dataset.name}, digest {c.inputs.dataset.digest} (run {c.run.info.run_id})"
            for c in (first, other)
        ]
    return f"classifiers must share one dataset, got {described[0]} and {described[1]}; test them in separate commands"


def _shown(names: Sequence[str]) -> str:
    rest = f", ... ({len(names)})" if len(names) > SHOWN_CLASSES else ""
    return f"[{', '.join(names[:SHOWN_CLASSES])}{rest}]"


def group_classifiers(classifiers: Iterable[RunClassifier]) -> list[Group]:
    """Return the classifiers grouped by backbone, weights, preprocessing and precision, in their original order."""
    groups: dict[tuple[object, ...], list[RunClassifier]] = {}
    for one in classifiers:
        how = one.inputs.identity
        key = (how.backbone, how.weights_digest, how.preprocessing, how.image_size, precision_of(one))
        groups.setdefault(key, []).append(one)
    return [Group(tuple(members)) for members in groups.values()]


def load_reference(
    run_id: str, cells: Iterable[CorruptedSet], item_ids: NDArray[np.str_], dataset_digest: str
) -> Reference:
    """Return the errors of a previously tested classifier.

    Args:
        run_id: ID of the classifier's run, or of its robustness run.
        cells: Cells that it must have been tested on.
        item_ids: Ids of the images that it must have been tested on.
        dataset_digest: Digest of the dataset.

    Raises:
        InputError: If it was not tested on those cells and images.
    """
    run = get_run(run_id)
    tested = [run] if "classifier_run" in run.data.tags else []
    tested = tested or find_runs({"stage": "robustness", "classifier_run": run_id, "dataset_digest": dataset_digest})
    if not tested:
        raise InputError(
            f"reference_run must have been tested on {dataset_digest} or be among the runs, got {run_id}, which has no "
            f"robustness run; add it to runs"
        )
    shortcomings = []
    for candidate in tested:
        frame = load_corrupted_predictions(candidate.info.run_id)
        missing = [str(cell) for cell in (CLEAN, *cells) if str(cell) not in frame]
        if not missing and np.array_equal(frame["item_id"].to_numpy(dtype=np.str_), item_ids):
            right = {cell: frame[str(cell)].astype(str) == frame["label"].astype(str) for cell in (CLEAN, *cells)}
            errors: dict[str, dict[int, float]] = {}
            for cell in cells:
                errors.setdefault(cell.corruption, {})[cell.severity] = 1 - float(right[cell].mean())
            return Reference(candidate.data.tags["classifier_run"], 1 - float(right[CLEAN].mean()), errors)
        lacks = f"{len(missing)} cells ({', '.join(missing[:3])}, ...)" if missing else "these test images"
        shortcomings.append(f"run {candidate.info.run_id} lacks {lacks}")
    raise InputError(
        f"reference_run must have been tested on the same cells and images, got {run_id}: {shortcomings[0]}; add it to "
        "runs"
    )
