"""Sources for the methods of one seed: long-tailed features, or long-tailed images."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import parse_head_params
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.longtail.fitting import FitOptions, FittedMethod, fit_method
from resnet_mlflow.longtail.profiles import draw_long_tail
from resnet_mlflow.longtail.table import BASELINE, MethodRun
from resnet_mlflow.stages.division import partition_of
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.longtail_runs import MethodTask, log_fitted, method_run
from resnet_mlflow.stages.longtail_trials import search
from resnet_mlflow.stages.preparation import Inputs, track_split
from resnet_mlflow.tracking import StageRun


class Source(Protocol):
    """Training, validation and test items of one seed."""

    @property
    def train_counts(self) -> NDArray[np.int64]:
        """Training images per class."""

    def track(self, run: StageRun) -> None:
        """Log the long-tailed training items as a dataset of the comparison's run."""

    def run(self, task: MethodTask) -> MethodRun:
        """Return the result of a method on them, in a nested run."""


@dataclass
class FeatureSource:
    """Features of a frozen backbone, long-tailed in ``splits["train"]``."""

    inputs: Inputs
    splits: Mapping[str, FeatureSplit]
    base: HeadBase | None = None  # fitted with none, for the methods that start from it

    @property
    def train_counts(self) -> NDArray[np.int64]:
        """Return training images per class."""
        return np.bincount(self.splits["train"].labels, minlength=len(self.inputs.dataset.class_names))

    def track(self, run: StageRun) -> None:
        """Log the long-tailed training items as a dataset of the comparison's run."""
        track_split(run, self.inputs, "train", self.splits["train"])

    def run(self, task: MethodTask) -> MethodRun:
        """Return the result of a method, in a nested run."""
        config = task.config
        with method_run(task) as run:
            start = time.perf_counter()
            fitted = search(run.run_id, task, self._fit) if config.n_trials else self._fit(task, {})
            if task.method == BASELINE:
                self.base = fitted.head
            return log_fitted(run, task, fitted, self.splits, {"time/fit_s": time.perf_counter() - start})

    def _fit(self, task: MethodTask, params: Mapping[str, float]) -> FittedMethod:
        config, options = task.config, FitOptions(params=params, base=self.base)
        head_params = parse_head_params(config.head_params)
        return fit_method(task.method, config.head, head_params, self.splits, config.seed, options)


def on_features(config: LongtailConfig, inputs: Inputs) -> Iterator[Source]:
    """Yield the long-tailed features of each seed; they are extracted first if missing."""
    features = ensure_features(config, inputs)
    for seed in config.all_seeds:
        splits = partition_of(config.model_copy(update={"seed": seed}), features)
        rows = draw_rows(splits["train"].labels, splits["train"].groups, config, inputs, seed)
        yield FeatureSource(inputs, splits | {"train": splits["train"].select(rows)})


def draw_rows(
    labels: NDArray[np.int64], groups: NDArray[np.int64], config: LongtailConfig, inputs: Inputs, seed: int
) -> NDArray[np.int64]:
    """Return the training rows to keep; validation was drawn before and does not change."""
    names = inputs.dataset.class_names
    return draw_long_tail(labels, config.profile, config.imbalance_factor, config.class_order, seed, names, groups)
