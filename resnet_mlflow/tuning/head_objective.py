"""The objective of a head's trial: fitted on one part of the data, measured on another."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.data.group_draws import GroupTable, are_single
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import compute_metrics, count_confusion
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.base import HeadBase, fit_temperature
from resnet_mlflow.heads.preprocessing import apply_preprocessing, fit_preprocessing
from resnet_mlflow.tuning.objective import Measured, Report
from resnet_mlflow.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    from resnet_mlflow.heads.knn import KNNHead, Neighbours
    from resnet_mlflow.training.loop import EpochResult

Array = NDArray[Any]
Fold = tuple[FeatureSplit, FeatureSplit]

# Number of cached preprocessed features and neighbours: one per preprocessing, with both metrics.
KEPT = 8
TIMINGS = 3


class HeadObjective:
    """Fits a head with a trial's parameters and measures it; work common to all trials is done once."""

    def __init__(self, config: FitHeadConfig, space: SearchSpace, splits: Mapping[str, FeatureSplit]) -> None:
        """Divide the data.

        Args:
            config: Settings of head, seed, objectives, folds and calibration.
            space: The search space, which determines the number of neighbours to search for.
            splits: Features of train and val; test is not used.
        """
        self.config = config
        self.folds = (
            make_folds(splits["train"], config.cv_folds, config.seed)
            if config.cv_folds
            else [(splits["train"], splits["val"])]
        )
        self.largest_k = _largest(space, "k", build_head("knn", {}, config.seed).get_params()["k"])
        self._preprocessed = lru_cache(maxsize=KEPT)(self._preprocess)
        self._neighbours = lru_cache(maxsize=KEPT)(self._find_neighbours)

    def __call__(self, params: dict[str, Any], report: Report) -> Measured:
        """Return the objectives and metrics of a head, averaged over the folds."""
        head = build_head(self.config.head, params, self.config.seed)
        epochs: list[int] = []
        if len(self.folds) == 1:
            head.on_epoch = lambda result: epochs.append(_tell_epoch(report, result, self.config.minimizes))
        scores = [self._score_fold(head, fold) for fold in range(len(self.folds))]
        split = "cv" if self.config.cv_folds else "val"
        means = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
        metrics = {name if name.startswith("time/") else f"{split}/{name}": value for name, value in means.items()}
        if self.config.cv_folds:
            spread = np.std([score[self.config.objective] for score in scores], ddof=1)
            metrics[f"cv/{self.config.objective}_std"] = float(spread)
        values: tuple[float, ...] = (means[self.config.objective],)
        if self.config.second_objective == "inference_time":
            values += (1000 * means["time/inference_s"],)
        return Measured(values, metrics, step=max(epochs, default=0))

    def _score_fold(self, head: HeadBase, fold: int) -> dict[str, float]:
        held_out = self.folds[fold][1].labels
        start = time.perf_counter()
        if self.config.second_objective == "inference_time":
            logits, inference_s = self._timed_logits(head, fold)
        else:
            logits, inference_s = self._shared_logits(head, fold), None
        taken = {"time/trial_s": time.perf_counter() - start}
        taken |= {} if inference_s is None else {"time/inference_s": inference_s}
        temperature = fit_temperature(logits, held_out) if self.config.calibration == "temperature" else 1.0
        probabilities = softmax(logits / temperature, axis=1)
        confusion = count_confusion(held_out, probabilities.argmax(axis=1), logits.shape[1])
        return compute_metrics(held_out, probabilities, confusion) | taken

    def _shared_logits(self, head: HeadBase, fold: int) -> Array:
        """Return a head's logits of the held-out items from preprocessed features."""
        if self.config.head == "knn":
            return self._voted(head, fold)
        train, held_out = self.folds[fold]
        X, X_held_out = self._preprocessed(fold, head.preprocessing)
        head.set_params(preprocessing="none")
        return head.fit(X, train.labels, X_held_out, held_out.labels).logits(X_held_out)

    def _voted(self, head: "KNNHead", fold: int) -> Array:
        fitted, neighbours = self._neighbours(fold, head.preprocessing, head.metric)
        return fitted.set_params(weights=head.weights, T=head.T).vote(neighbours, head.k)  # type: ignore[no-any-return]

    def _timed_logits(self, head: HeadBase, fold: int) -> tuple[Array, float]:
        """Return logits, and seconds per item for the whole head, the minimum over some repetitions."""
        train, held_out = self.folds[fold]
        head.fit(train.features, train.labels, held_out.features, held_out.labels)
        taken = []
        for _ in range(TIMINGS):
            start = time.perf_counter()
            logits = head.logits(held_out.features)
            taken.append(time.perf_counter() - start)
        return logits, min(taken) / len(held_out)

    def _preprocess(self, fold: int, name: str) -> tuple[Array, Array]:
        train, held_out = (np.asarray(split.features) for split in self.folds[fold])
        offset, scale = fit_preprocessing(name, train, None)
        return apply_preprocessing(name, train, offset, scale), apply_preprocessing(name, held_out, offset, scale)

    def _find_neighbours(self, fold: int, preprocessing: str, metric: str) -> "tuple[KNNHead, Neighbours]":
        """Return a head and the nearest neighbours of the held-out items, as many as any trial needs."""
        from resnet_mlflow.heads.knn import KNNHead

        train, held_out = self.folds[fold]
        fitted = KNNHead(metric=metric, preprocessing=preprocessing).fit(train.features, train.labels)
        return fitted, fitted.find_neighbours(held_out.features, self.largest_k)


def make_folds(train: FeatureSplit, n_folds: int, seed: int) -> list[Fold]:
    """Return pairs of training rows and held-out rows, stratified by class; each row is held out once.

    No group is in both; with groups, classes are balanced as well as possible.

    Raises:
        InputError: If a class has fewer items than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    single = are_single(train.groups)
    counts = np.bincount(train.labels) if single else GroupTable.of(train.labels, train.groups).groups_per_class()
    if (smallest := int(counts.min())) < n_folds:
        what = "training images" if single else "groups of training images"
        raise InputError(
            f"cv_folds must be at most the {what} of the smallest class, got {n_folds} folds for {smallest}; "
            "lower cv_folds"
        )
    splitter = StratifiedKFold if single else StratifiedGroupKFold
    divided = splitter(n_folds, shuffle=True, random_state=seed).split(
        train.labels, train.labels, None if single else train.groups
    )
    return [(train.select(rows), train.select(held_out)) for rows, held_out in divided]


def count_epochs(head: str, space: SearchSpace) -> int:
    """Return the maximum number of training epochs of a head; 0 if it is not trained in epochs."""
    defaults = build_head(head, {}, seed=0).get_params() | space.given
    if "epochs" not in defaults:
        return 0
    solvers = space.parameters["solver"].choices if "solver" in space.parameters else (defaults.get("solver", "sgd"),)
    return _largest(space, "epochs", int(defaults["epochs"])) if "sgd" in solvers else 0


def _largest(space: SearchSpace, name: str, default: int = 0) -> int:
    if name not in space.parameters:
        return int(space.given.get(name, default))
    return max(int(value) for value in space.parameters[name].extremes())


def _tell_epoch(report: Report, result: "EpochResult", minimizes: bool) -> int:
    metrics = {f"val/{name}": value for name, value in result.val_metrics.items()}
    # Epochs report only accuracy and loss; a pruner needs the one that changes like the objective.
    value = result.val_metrics["loss" if minimizes else "accuracy"]
    report(result.epoch, {"train/loss": result.train_loss, **metrics}, value)
    return result.epoch
