"""One classifier's results: scores by cell, by tier, by family and overall, under their logged names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.evaluation.scores import count_confusion
from resnet_mlflow.longtail.groups import group_scores
from resnet_mlflow.robustness.corruption import SEVERITIES
from resnet_mlflow.robustness.groups import BENCHMARK, scored_groups
from resnet_mlflow.robustness.results import SetResult
from resnet_mlflow.robustness.scores import (
    Errors,
    consistency,
    corruption_error,
    mean_corruption_error,
    mean_over_items,
    relative_mean_corruption_error,
)
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.statistics import Interval, accuracy_interval


@dataclass(frozen=True)
class Reference:
    """Reference errors, by which others are divided.

    Attributes:
        run_id: Run ID of the reference classifier.
        clean: Error on the clean images.
        errors: Errors by corruption and severity.
    """

    run_id: str
    clean: float
    errors: Errors


@dataclass(frozen=True, eq=False)
class TriedClassifier:
    """One classifier's results; rows of all arrays are the same images.

    Attributes:
        run_id: ID of the run that fitted it.
        name: Name in tables; the same for all seeds of a method.
        seed: Its seed.
        labels: True classes, ``(n_items,)``.
        n_classes: Number of classes.
        results: Results by cell, including the clean images.
        tiers: Severity of each tier.
        size_groups: Classes in the training groups many, medium and few, if it was trained on a long tail.
    """

    run_id: str
    name: str
    seed: int
    labels: NDArray[np.int64]
    n_classes: int
    results: Mapping[CorruptedSet, SetResult]
    tiers: Mapping[str, int]
    size_groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @cached_property
    def correct(self) -> dict[CorruptedSet, NDArray[np.bool_]]:
        """Return which items are right, by cell."""
        return {cell: result.predictions == self.labels for cell, result in self.results.items()}

    @property
    def cells(self) -> list[CorruptedSet]:
        """Return the corrupted cells."""
        return [cell for cell in self.results if cell != CLEAN]

    @property
    def headline(self) -> list[CorruptedSet]:
        """Return the cells used for tiers and means: the benchmark's, or all if there are none of these."""
        return [cell for cell in self.cells if cell.corruption in BENCHMARK] or self.cells

    @property
    def errors(self) -> dict[str, dict[int, float]]:
        """Return top-1 errors by corruption and severity."""
        errors: dict[str, dict[int, float]] = {}
        for cell in self.cells:
            errors.setdefault(cell.corruption, {})[cell.severity] = 1 - self.accuracy(cell)
        return errors

    @property
    def reference(self) -> Reference:
        """Return the classifier as a reference for others."""
        return Reference(self.run_id, 1 - self.accuracy(CLEAN), self.errors)

    def accuracy(self, cell: CorruptedSet) -> float:
        """Return the share of right items in a cell."""
        return float(self.correct[cell].mean())

    def interval(self, cell: CorruptedSet) -> Interval:
        """Return the 95 % interval of a cell's accuracy: Wilson's, modified for 3 errors or fewer."""
        return accuracy_interval(int(self.correct[cell].sum()), len(self.labels))

    def series(self) -> dict[int, dict[str, float]]:
        """Return metrics by severity, which is their logged step; ECE also as a mean over corruptions."""
        series: dict[int, dict[str, float]] = {}
        for cell in self.cells:
            result, name = self.results[cell], f"robustness/{cell.corruption}"
            low, high = self.interval(cell)
            series.setdefault(cell.severity, {}).update(
                {
                    f"{name}/accuracy": self.accuracy(cell),
                    f"{name}/accuracy_ci_low": low,
                    f"{name}/accuracy_ci_high": high,
                    f"{name}/ece": result.ece,
                    f"{name}/consistency": self._consistency([cell]),
                }
            )
        for severity, values in series.items():
            cells = [cell for cell in self.headline if cell.severity == severity]
            if cells:
                values["robustness/ece"] = self._ece(cells)
        return series

    def summary(self, reference: Reference | None = None) -> dict[str, float]:
        """Return the plain metrics; undefined ones are omitted.

        Args:
            reference: Adds CE per corruption and, if all 75 cells are present, mCE and relative mCE.
        """
        metrics = self._part("clean", [CLEAN])
        for tier, severity in self.tiers.items():
            metrics |= self._part(tier, [cell for cell in self.headline if cell.severity == severity])
        metrics |= self._part("mean", self.headline)
        for group, names in scored_groups().items():
            cells = [cell for cell in self.cells if cell.corruption in names]
            if cells:
                metrics[f"robustness/{group}/accuracy"] = self._mean(cells)[0]
        metrics["robustness/mean/error"] = 1 - metrics["robustness/mean/accuracy"]
        if reference is not None:
            metrics |= self._corruption_errors(reference)
        return {name: value for name, value in metrics.items() if not math.isnan(value)}

    def _part(self, name: str, cells: Sequence[CorruptedSet]) -> dict[str, float]:
        """Return the scores over some cells; empty if there are no cells."""
        if not cells:
            return {}
        mean, (low, high) = self._mean(cells)
        scores = {
            "accuracy": mean,
            "accuracy_ci_low": low,
            "accuracy_ci_high": high,
            "ece": self._ece(cells),
            "consistency": self._consistency(cells),
        }
        return {f"robustness/{name}/{score}": value for score, value in (scores | self._by_size(cells)).items()}

    def _mean(self, cells: Sequence[CorruptedSet]) -> tuple[float, Interval]:
        if len(cells) == 1:
            return self.accuracy(cells[0]), self.interval(cells[0])
        return mean_over_items(np.stack([self.correct[cell] for cell in cells]))

    def _ece(self, cells: Iterable[CorruptedSet]) -> float:
        return float(np.mean([self.results[cell].ece for cell in cells]))

    def _consistency(self, cells: Iterable[CorruptedSet]) -> float:
        clean = self.results[CLEAN].predictions
        return float(np.mean([consistency(self.results[cell].predictions, clean) for cell in cells]))

    def _by_size(self, cells: Sequence[CorruptedSet]) -> dict[str, float]:
        """Return the mean recall over the cells of the classes in the training groups many, medium and few."""
        if not self.size_groups:
            return {}
        pooled = sum(
            count_confusion(self.labels, self.results[cell].predictions.astype(np.int64), self.n_classes)
            for cell in cells
        )
        support = np.asarray(pooled).sum(axis=1)
        recalls = np.divide(np.diagonal(pooled), support, out=np.full(self.n_classes, np.nan), where=support > 0)
        return {f"accuracy_{name}": score for name, (score, _) in group_scores(recalls, self.size_groups).items()}

    def _corruption_errors(self, reference: Reference) -> dict[str, float]:
        errors, clean = self.errors, 1 - self.accuracy(CLEAN)
        metrics = {
            f"robustness/{name}/ce": corruption_error(
                [own[severity] for severity in SEVERITIES],
                [reference.errors[name][severity] for severity in SEVERITIES],
            )
            for name, own in errors.items()
            if set(SEVERITIES) <= own.keys() and set(SEVERITIES) <= reference.errors.get(name, {}).keys()
        }
        return metrics | {
            "robustness/mce": mean_corruption_error(errors, reference.errors),
            "robustness/relative_mce": relative_mean_corruption_error(errors, clean, reference.errors, reference.clean),
        }
