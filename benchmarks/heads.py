"""Speed of heads relative to scikit-learn and faiss, and the time to log a fitted head as a model."""

from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from benchmarks.features import features
from benchmarks.harness import Row, alternate, limit_row, ratio_row, seconds
from benchmarks.peers import sklearn_heads
from benchmarks.peers.faiss_search import FaissKNN
from benchmarks.synthetic import N_CLASSES, N_FEATURES
from resnet_mlflow.heads import build_head
from resnet_mlflow.tracking import log_head

N_QUERIES = 5000
LEAST_TURN_S = 0.2
# The same number of epochs as the peer, with no rows held out.
HEAD_PARAMS = {"mlp": {"epochs": 10, "patience": 0, "batch_size": 256, "dropout": 0.0}}


def svc_5000(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fitting the svm head on 5 000 rows, relative to scikit-learn."""
    return [_over_sklearn(folder, 1000 if quick else 5_000, 5.0, 5)]


def svc_20000(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fitting the svm head on 20 000 rows, relative to scikit-learn."""
    return [_over_sklearn(folder, 4000 if quick else 20_000, 8.0, 1 if quick else 5)]


def heads_5000(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fit and predict of every head on 5 000 rows, relative to scikit-learn."""
    return _every_head(folder, 1000 if quick else 5_000, 3 if quick else 5, ("knn", "prototype", "linear", "mlp"))


def heads_20000(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fit and predict of every head on 20 000 rows, relative to scikit-learn."""
    return _every_head(folder, 2000 if quick else 20_000, 1 if quick else 5, ("knn", "prototype", "linear", "mlp"))


def heads_50000(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fit and predict of every head on 50 000 rows, relative to scikit-learn."""
    return _every_head(folder, 4000 if quick else 50_000, 1 if quick else 5, ("knn", "prototype", "linear", "mlp"))


def svc_predict(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of predictions of the svm head, fitted on 5 000 rows, relative to scikit-learn."""
    n_rows = 1000 if quick else 5_000
    X, y, what = features(folder, 2 * n_rows)
    ours = build_head("svm", {}, seed=0).fit(X[:n_rows], y[:n_rows])
    peer = sklearn_heads.build("svm").fit(X[:n_rows], y[:n_rows])
    return [_predict_row("svm", ours, peer, X[n_rows:], n_rows, what, 3 if quick else 5)]


def log_model(folder: Path, quick: bool) -> list[Row]:
    """Return the time to log a fitted svm head as a model, with as many rows as the training split of digits."""
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


def _every_head(folder: Path, n_rows: int, turns: int, names: tuple[str, ...]) -> list[Row]:
    X, y, what = features(folder, n_rows)
    queries = X[: min(len(X), N_QUERIES)]
    rows = []
    for name in names:
        ours = build_head(name, HEAD_PARAMS.get(name, {}), seed=0)
        peer = sklearn_heads.build(name)
        if name != "knn":  # its fit only stores the rows, here and in the peer
            rows.append(_fit_row(name, ours, peer, X, y, what, turns))
        ours.fit(X, y)
        rows.append(_predict_row(name, ours, peer.fit(X, y), queries, len(X), what, turns))
        if name == "knn":
            rows.append(_predict_row(name, ours, FaissKNN(3).fit(X, y), queries, len(X), what, turns, "faiss"))
    return rows


def _fit_row(
    name: str, ours: Any, peer: Any, X: NDArray[np.float32], y: NDArray[np.int64], what: str, turns: int
) -> Row:
    ours.fit(X[:500], y[:500])
    taken = alternate(partial(ours.fit, X, y), partial(peer.fit, X, y), turns, warm_up=False)
    names = (f"{name} head", f"{_describe(peer)}, {_agreement(ours, peer, X[:2000])}")
    return ratio_row(f"{name} fit, {len(X)} x {X.shape[1]} ({what}), over scikit-learn's", 1.0, *taken, names=names)


def _predict_row(
    name: str,
    ours: Any,
    peer: Any,
    queries: NDArray[np.float32],
    n_rows: int,
    what: str,
    turns: int,
    library: str = "scikit-learn",
) -> Row:
    # A call of milliseconds is disturbed by threads that the previous call left spinning: a turn is several calls.
    n_calls = max(1, round(LEAST_TURN_S / seconds(partial(ours.predict, queries))))
    taken = alternate(*(partial(_repeat, n_calls, model.predict, queries) for model in (ours, peer)), turns)
    taken = tuple([turn / n_calls for turn in side] for side in taken)
    return ratio_row(
        f"{name} predict, {len(queries)} rows, fitted on {n_rows} x {queries.shape[1]} ({what}), over {library}'s",
        1.0,
        *taken,
        names=(f"{name} head", f"{_describe(peer)}, {_agreement(ours, peer, queries[:2000])}"),
    )


def _repeat(n_calls: int, predict: Any, queries: NDArray[np.float32]) -> None:
    for _ in range(n_calls):
        predict(queries)


def _describe(peer: Any) -> str:
    return type(peer[-1] if isinstance(peer, Pipeline) else peer).__name__


def _agreement(ours: Any, peer: Any, queries: NDArray[np.float32]) -> str:
    return f"{np.mean(ours.predict(queries) == peer.predict(queries)):.1%} equal predictions"


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
