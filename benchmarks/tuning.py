"""The cost of a trial in addition to its fit, and a study's choice compared with scikit-learn's searches."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, PredefinedSplit, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from benchmarks.harness import Row, limit_row
from benchmarks.images import small_folder
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.head_runs import load_splits
from resnet_mlflow.stages.preparation import prepare

MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Chosen:
    """The result of a search, refitted on train."""

    name: str
    n_tried: int
    val: float
    test: float


def overhead(folder: Path, quick: bool) -> list[Row]:
    """Return the time that MLflow and Optuna add to a trial, on SQLite and the default storage."""
    taken = []
    for seed in range(1 if quick else 3):
        config = FitHeadConfig(weights="random", head="prototype", n_trials=10 if quick else 50, seed=seed)
        outcome = run_fit_head(config)
        taken.append(1000 * mlflow.get_run(outcome.run_id).data.metrics["time/trial_overhead_s"])
    what = f"what MLflow and Optuna add to a trial, SQLite and journal, median of {config.n_trials} trials"
    return [limit_row(what, 40.0, taken, unit="ms")]


def against_searches(folder: Path, quick: bool) -> list[Row]:
    """Return validation accuracy of `fit_head` with trials minus that of scikit-learn's searches in the same time."""
    n_images, budget_s = (600, 5.0) if quick else (6_000, 60.0)
    images, what = small_folder(folder / "images", n_images)
    photos = {"dataset": f"folder:{images}", "image_size": 64}
    rows = []
    for source, text in (({"dataset": "digits"}, "digits"), (photos, f"{n_images} images ({what})")):
        config = FitHeadConfig(weights="random", head="svm", n_trials=MOST_TRIALS, timeout_s=budget_s, **source)
        rows += _compare(config, budget_s, f"{text}, resnet18 with random weights")
    return rows


def _compare(config: FitHeadConfig, budget_s: float, what: str) -> list[Row]:
    _, splits = load_splits(config, prepare(config))  # so that features are stored before timing starts
    metrics = mlflow.get_run(run_fit_head(config).run_id).data.metrics
    n_trials = int(metrics["tuning/n_complete"])
    ours = Chosen("fit_head", n_trials, metrics["val/accuracy"], metrics["test/accuracy"])
    peers = [_search(peer, splits, budget_s) for peer in (RandomizedSearchCV, HalvingRandomSearchCV)]
    return [
        Row(
            f"svm tuned for {budget_s:g} s, {what}: validation accuracy less {peer.name}'s",
            ours.val - peer.val,
            0.0,
            unit="",
            ours=f"val {ours.val:.4f}, test {ours.test:.4f}, {ours.n_tried} trials",
            peer=f"val {peer.val:.4f}, test {peer.test:.4f}, {peer.n_tried} candidates",
        )
        for peer in peers
    ]


def _search(search_class: Any, splits: dict[str, FeatureSplit], budget_s: float) -> Chosen:
    """Search in rounds, doubling the candidates, until the time is used up, and keep the best on validation.

    RandomizedSearchCV evaluates on the validation split, as trials do. Halving draws subsets of the training rows, so
    it evaluates on two folds of these, and its winners are compared on validation.
    """
    train, val = splits["train"], splits["val"]
    halving = search_class is HalvingRandomSearchCV
    parts = [train] if halving else [train, val]
    X, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "labels"))
    folds = 2 if halving else PredefinedSplit(np.repeat([-1, 0], [len(train), len(val)]))
    start, size, n_tried, best = time.perf_counter(), 4, 0, (0.0, 0.0)
    while size >= 4:
        number = {"n_candidates" if halving else "n_iter": size}
        search = search_class(_pipeline(), _distributions(), **number, cv=folds, random_state=n_tried, refit=False)
        search.fit(X, y)
        best = max(best, _scores(_pipeline().set_params(**search.best_params_), splits))
        n_tried += size
        spent = time.perf_counter() - start
        # No more candidates than the remaining time allows at the pace so far.
        size = min(2 * size, int(n_tried * (budget_s - spent) / spent))
    return Chosen(search_class.__name__, n_tried, *best)


def _pipeline() -> Pipeline:
    return Pipeline([("preprocessing", "passthrough"), ("svm", SVC())])


def _distributions() -> list[dict[str, Any]]:
    common = {"preprocessing": ["passthrough", StandardScaler(), Normalizer()], "svm__C": loguniform(1e-3, 1e3)}
    gammas = ["scale", 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]
    return [common | {"svm__kernel": ["rbf"], "svm__gamma": gammas}, common | {"svm__kernel": ["linear"]}]


def _scores(pipeline: Pipeline, splits: dict[str, FeatureSplit]) -> tuple[float, float]:
    pipeline.fit(splits["train"].features, splits["train"].labels)
    val, test = (float(pipeline.score(splits[name].features, splits[name].labels)) for name in ("val", "test"))
    return val, test
