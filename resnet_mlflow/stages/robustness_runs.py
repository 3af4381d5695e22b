"""One tested classifier as a separate run: metrics by severity, tiers, figures and predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow import __version__
from resnet_mlflow.config import LongtailConfig, RobustnessConfig
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.longtail.groups import group_classes
from resnet_mlflow.robustness.figures import heat_map_figure, severity_curves_figure
from resnet_mlflow.robustness.results import cell_key
from resnet_mlflow.robustness.selection import CLEAN
from resnet_mlflow.robustness.summary import Reference, TriedClassifier
from resnet_mlflow.robustness.table import cells_frame, coverage
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.stages.longtail_runs import thresholds
from resnet_mlflow.stages.preparation import digest_of, track_split
from resnet_mlflow.stages.robustness_sweeps import Results, Sweep
from resnet_mlflow.tracking import find_runs, load_class_counts, stage_run

if TYPE_CHECKING:
    import pandas as pd

# Tags of the classifier's run that its robustness run also has, if present.
KEPT_TAGS = ("head", "backbone", "seed", "train_layers", "method", "features_key", "precision")
SHOWN_IN_NOTE = ("accuracy", "accuracy_ci_low", "accuracy_ci_high", "consistency", "ece")


def try_classifier(
    classifier: RunClassifier, name: str, sweep: Sweep, results: Results, tiers: Mapping[str, int]
) -> TriedClassifier:
    """Return a classifier's results with the data for scoring them."""
    return TriedClassifier(
        classifier.run.info.run_id,
        name,
        int(classifier.run.data.tags.get("seed", 0)),
        sweep.images.split.labels,
        len(classifier.class_names),
        results,
        tiers,
        _size_groups(classifier),
    )


def _size_groups(classifier: RunClassifier) -> dict[str, NDArray[np.int64]]:
    """Return the classes in the training groups many, medium and few; empty without a long tail."""
    config, counts = classifier.config, load_class_counts(classifier.run, "training")
    if not isinstance(config, LongtailConfig) or counts is None:
        return {}
    sizes = np.array([counts[name] for name in classifier.class_names])
    groups = group_classes(sizes, *thresholds(config, sizes))
    return {name: classes for name, classes in groups.items() if len(classes)}


@dataclass(frozen=True)
class Trial:
    """A tested classifier to log.

    Attributes:
        config: Configuration of the test.
        sweep: The sweep that gave the results.
        classifier: The tested classifier.
        tried: The results.
        reference: Reference for errors, if any.
    """

    config: RobustnessConfig
    sweep: Sweep
    classifier: RunClassifier
    tried: TriedClassifier
    reference: Reference | None

    @property
    def cache_key(self) -> str:
        """Return the key of everything that determines the run's numbers."""
        return digest_of(
            {
                "stage": "robustness",
                "classifier_run": self.tried.run_id,
                "cells": [cell_key(self.sweep.identity(cell)) for cell in (CLEAN, *self.tried.cells)],
                "tiers": dict(self.tried.tiers),
                "reference": self.reference.run_id if self.reference else "",
                "version": __version__,
            }
        )


def log_trial(trial: Trial) -> str:
    """Return the id of the run with a classifier's results: a new one, or a finished one."""
    finished = find_runs({"stage": "robustness", "cache_key": trial.cache_key})
    if finished:
        return str(finished[0].info.run_id)
    classifier, tried, images = trial.classifier, trial.tried, trial.sweep.images
    kept = {name: value for name, value in classifier.run.data.tags.items() if name in KEPT_TAGS}
    tags = (
        classifier.inputs.tags
        | kept
        | {
            "classifier_run": tried.run_id,
            "corruptions": ",".join(dict.fromkeys(cell.corruption for cell in tried.cells)),
            "severities": ",".join(map(str, sorted({cell.severity for cell in tried.cells}))),
            "constants_resolution": ",".join(map(str, images.resolutions)),
            "corruption_size": images.corruption_size or "native",
            "n_images": len(images.split),
            "cache_key": trial.cache_key,
        }
    )
    config = trial.config.model_copy(update={"runs": tried.run_id, "model": "", "filter": ""})
    with stage_run("robustness", config, f"{classifier.name} robustness", tags) as run:
        split = images.split
        nothing = np.empty((len(split), 0), np.float32)
        tracked = track_split(run, classifier.inputs, "test", FeatureSplit(nothing, split.labels, split.item_ids))
        for severity, values in tried.series().items():
            run.log_metrics(values, step=severity, dataset=tracked)
        run.log_metrics(tried.summary(trial.reference), dataset=tracked)
        with run.artifacts() as folder:
            _write(folder, trial)
        run.log_note(_note(trial))
    return run.run_id


def _write(folder: Path, trial: Trial) -> None:
    (folder / "robustness").mkdir()
    (folder / "figures").mkdir()
    cells_frame(trial.tried).to_csv(folder / "robustness" / "cells.csv", index=False)
    predictions_frame(trial).to_parquet(folder / "robustness" / "predictions.parquet", index=False)
    severity_curves_figure([trial.tried]).savefig(folder / "figures" / "severity_curves.png")
    heat_map_figure(trial.tried).savefig(folder / "figures" / "heat_map.png")


def predictions_frame(trial: Trial) -> "pd.DataFrame":
    """Return one row per image: ``item_id``, ``path``, ``label``, and the predicted class of each cell, by name."""
    import pandas as pd

    split, names = trial.sweep.images.split, pd.Index(trial.classifier.class_names)
    # Categories are stored as small numbers with the names once per column: 75 cells of 10 000 images take about 1 MB.
    columns = {
        str(cell): pd.Categorical.from_codes(result.predictions, names) for cell, result in trial.tried.results.items()
    }
    labels = pd.Categorical.from_codes(split.labels, names)
    paths = trial.classifier.inputs.dataset.relative_paths(split)
    return pd.DataFrame({"item_id": split.item_ids, "path": paths, "label": labels, **columns})


def _note(trial: Trial) -> str:
    tried = trial.tried
    lines = ["| | accuracy | 95 % interval | unchanged predictions | ECE |", "|---|---|---|---|---|"]
    metrics = tried.summary()
    for part in ("clean", *tried.tiers, "mean"):
        if f"robustness/{part}/accuracy" in metrics:
            own = {name: metrics[f"robustness/{part}/{name}"] for name in SHOWN_IN_NOTE}
            lines.append(
                f"| {part} | {own['accuracy']:.4f} | {own['accuracy_ci_low']:.4f} to {own['accuracy_ci_high']:.4f} | "
                f"{own['consistency']:.4f} | {own['ece']:.4f} |"
            )
    heading = f"**{tried.name}** under corruption, {coverage(tried)}; classifier of run {tried.run_id}"
    return "\n\n".join([heading, "\n".join(lines), *trial.classifier.inputs.remarks])
