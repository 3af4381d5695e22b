"""What runs predicted, read back from the tracking store."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.tracking.store import download


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier said of a split's items, in the order they were logged.

    Attributes:
        item_ids: ``(n_items,)`` text, the digest of each item's content.
        labels: ``(n_items,)`` names of the true classes.
        predictions: ``(n_items,)`` names of the predicted classes.
        scores: ``(n_items, n_classes)`` float32 probabilities.
        class_names: ``n_classes`` names, the order of the scores.
    """

    item_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    predictions: NDArray[np.str_]
    scores: NDArray[np.float32]
    class_names: tuple[str, ...]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return which items were predicted right, ``(n_items,)``."""
        return np.asarray(self.labels == self.predictions)


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often each class was taken for each.

    Attributes:
        class_names: ``n_classes`` names.
        counts: Items, labels down, predictions across, ``(n_classes, n_classes)``.
    """

    class_names: tuple[str, ...]
    counts: NDArray[np.int64]


def load_confusion_matrix(run_id: str, split: Literal["val", "test"] = "test") -> ConfusionMatrix:
    """Return what a run logged as ``evaluation/<split>/confusion_matrix.json``.

    Raises:
        MlflowException: If the run has no confusion matrix of the split.
    """
    with tempfile.TemporaryDirectory(prefix="resnet-mlflow-") as folder:
        path = download(run_id, f"evaluation/{split}/confusion_matrix.json", Path(folder))
        stored = json.loads(path.read_text(encoding="utf-8"))
    return ConfusionMatrix(tuple(stored["class_names"]), np.array(stored["counts"], dtype=np.int64))


def load_predictions(run_id: str, split: Literal["val", "test"] = "test") -> Predictions:
    """Return what a run logged as ``evaluation/<split>/predictions.parquet``.

    Raises:
        MlflowException: If the run has no predictions of the split.
    """
    with tempfile.TemporaryDirectory(prefix="resnet-mlflow-") as folder:
        frame = pd.read_parquet(download(run_id, f"evaluation/{split}/predictions.parquet", Path(folder)))
    columns = [name for name in frame.columns if name.startswith("score_")]
    item_ids, labels, predictions = (frame[name].to_numpy(dtype=np.str_) for name in ("item_id", "label", "prediction"))
    class_names = tuple(name.removeprefix("score_") for name in columns)
    return Predictions(item_ids, labels, predictions, frame[columns].to_numpy(dtype=np.float32), class_names)


def load_corrupted_predictions(run_id: str) -> pd.DataFrame:
    """Return what a robustness run logged as ``robustness/predictions.parquet``: one row per test image.

    Columns are ``item_id``, ``label``, ``clean`` and one per corrupted test set, such as ``fog 3``; all but the first
    are names of classes.

    Raises:
        MlflowException: If the run has no such predictions.
    """
    with tempfile.TemporaryDirectory(prefix="resnet-mlflow-") as folder:
        return pd.read_parquet(download(run_id, "robustness/predictions.parquet", Path(folder)))
