"""SVC on features over scikit-learn's, and how long a fitted head takes to become a logged model."""

import os
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from benchmarks.extraction import extract
from benchmarks.harness import Row, alternate, limit_row, ratio_row, seconds
from benchmarks.images import small_folder
from resnet_mlflow.heads import build_head
from resnet_mlflow.tracking import log_head

N_FEATURES = 512
N_CLASSES = 10


def svc_5000(folder: Path, quick: bool) -> list[Row]:
    """Return the fit of the svm head on 5 000 rows over scikit-learn's."""
    return [_over_sklearn(folder, 1000 if quick else 5_000, 5.0, 5)]


def svc_20000(folder: Path, quick: bool) -> list[Row]:
    """Return the fit of the svm head on 20 000 rows over scikit-learn's."""
    return [_over_sklearn(folder, 4000 if quick else 20_000, 8.0, 3)]


def log_model(folder: Path, quick: bool) -> list[Row]:
    """Return how long logging a fitted svm head as a model takes, for as many rows as digits trains on."""
    X, y, what = features(folder, 1438)
    taken: dict[str, list[float]] = {}
    mlflow.set_experiment("bench")
    for head in ("svm", "linear"):
        fitted = build_head(head, {}, seed=0).fit(X, y)
        with mlflow.start_run():
            log_head(fitted, N_FEATURES, [str(i) for i in range(N_CLASSES)])
            taken[head] = [
                seconds(lambda fitted=fitted: log_head(fitted, N_FEATURES, [str(i) for i in range(N_CLASSES)]))
                for _ in range(5 if quick else 15)
            ]
    others = f"linear {np.median(taken['linear']):.3g} s"
    return [
        limit_row(
            f"logging a fitted svm head as a model, {len(X)} rows ({what})", 0.3, taken["svm"], unit="s", ours=others
        )
    ]


def features(folder: Path, n_rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
    """Return features and labels: resnet18's of CIFAR-10 where it can be had, else overlapping clusters."""
    if os.environ.get("CIFAR10_FOLDER"):
        images, _ = small_folder(folder / "for-features", n_rows)
        _, found = extract(images, 64, folder / "features-store")
        parts = found.splits.values()
        X = np.concatenate([np.asarray(split.features) for split in parts])
        y = np.concatenate([split.labels for split in parts])
        # A class folder is read class by class; solvers must not profit from the order.
        order = np.random.default_rng(0).permutation(len(X))
        return X[order], y[order], "resnet18 features of CIFAR-10 at 64 px, random weights"
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_CLASSES, n_rows)
    # Correlated axes of falling size, as features have; centres a fraction of a deviation apart.
    scale = np.arange(1, N_FEATURES + 1) ** -0.5
    centres = rng.normal(0, 0.25, (N_CLASSES, N_FEATURES))
    mixed = ((centres[y] + rng.normal(size=(n_rows, N_FEATURES))) * scale) @ rng.normal(size=(N_FEATURES, N_FEATURES))
    return np.maximum(mixed, 0).astype(np.float32), y, "overlapping clusters"


def _over_sklearn(folder: Path, n_rows: int, target: float, turns: int) -> Row:
    X, y, what = features(folder, n_rows)
    head = build_head("svm", {}, seed=0)
    peer = SVC(C=head.get_params()["C"])
    head.fit(X[:500], y[:500])
    taken = alternate(partial(head.fit, X, y), partial(peer.fit, X, y), turns, warm_up=False)
    return ratio_row(
        f"SVC fit, {len(X)} x {X.shape[1]} ({what}), over scikit-learn's",
        target,
        *taken,
        names=(
            f"svm head, {len(head.svc_.support_)} support vectors",
            f"SVC, {len(peer.support_)} support vectors; training accuracy differs by "
            f"{abs(head.score(X[:2000], y[:2000]) - peer.score(X[:2000], y[:2000])):.4f}",
        ),
    )
