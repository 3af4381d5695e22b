"""Reads the predictions of runs from the tracking store."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.tracking.artifacts import MAX_TABLE_BYTES, download, load_json, unreadable_json

# Predictions of a cross-validation's run on held-out images.
OUT_OF_FOLD = "evaluation/cross_validation/predictions.parquet"
# Maximum number of values in a table: ImageNet's 50 000 test images with scores of 1000 classes have 50 million.
MAX_CELLS = 10**9
# A JPEG file of 96 x 96 pixels in base64; pages show nothing else as an image, whoever wrote the run.
MAX_THUMBNAIL, _BASE64 = 2**16, re.compile(r"/9j/[A-Za-z0-9+/]*={0,2}")
# Columns of predictions besides item, label, prediction and scores; those of slices begin with SLICE.
KNOWN, SLICE = ("path", "group", "split"), "slice_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """A classifier's predictions on a split's items, in logged order.

    Attributes:
        item_ids: ``(n_items,)`` text, the digest of each item's content.
        labels: ``(n_items,)`` names of the true classes.
        predictions: ``(n_items,)`` names of the predicted classes.
        scores: ``(n_items, n_classes)`` float32 probabilities.
        class_names: ``n_classes`` names, the order of the scores.
        known: Further logged columns, ``(n_items,)`` texts by name: ``path``, ``group``, ``split``; empty for versions
            before 0.2.0.
    """

    item_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    predictions: NDArray[np.str_]
    scores: NDArray[np.float32]
    class_names: tuple[str, ...]
    known: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    @property
    def paths(self) -> NDArray[np.str_]:
        """Return the items' files relative to the dataset's folder, ``(n_items,)``; empty texts if unknown."""
        return self.known.get("path", np.full(len(self.labels), ""))

    def take(self, rows: NDArray[np.int64]) -> "Predictions":
        """Return the predictions of these items, in this order."""
        known = {name: values[rows] for name, values in self.known.items()}
        parts = (self.item_ids[rows], self.labels[rows], self.predictions[rows], self.scores[rows])
        return Predictions(*parts, self.class_names, known)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return which items were predicted right, ``(n_items,)``."""
        return np.asarray(self.labels == self.predictions)


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts of predictions by true class and predicted class.

    Attributes:
        class_names: ``n_classes`` names.
        counts: Number of items, rows are labels, columns predictions, ``(n_classes, n_classes)``.
    """

    class_names: tuple[str, ...]
    counts: NDArray[np.int64]


def load_confusion_matrix(run_id: str, split: Literal["val", "test"] = "test") -> ConfusionMatrix:
    """Return a run's ``evaluation/<split>/confusion_matrix.json``.

    Raises:
        InputError: If the run has no confusion matrix of the split, or something else in its place.
    """
    path = f"evaluation/{split}/confusion_matrix.json"
    stored = load_json(run_id, path)
    try:
        class_names = tuple(str(name) for name in stored["class_names"])
        counts = np.array(stored["counts"], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise unreadable_json(run_id, path, str(error)) from None
    if counts.shape != (len(class_names), len(class_names)) or (counts < 0).any():
        raise unreadable_json(run_id, path, f"counts of shape {counts.shape} for {len(class_names)} classes")
    return ConfusionMatrix(class_names, counts)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of a cross-validation's folds on their held-out images; each image once per repeat.

    Attributes:
        predictions: Predictions in logged order.
        folds: Fold that held out each item, ``(n_predictions,)``.
        repeats: Repeat of each prediction, of the same shape.
    """

    predictions: Predictions
    folds: NDArray[np.int64]
    repeats: NDArray[np.int64]

    def crossed(self) -> "CrossedPredictions":
        """Return which predictions were right by repeat and item, with items in the order of their ids.

        Raises:
            InputError: If a repeat lacks items that another one has.
        """
        own = [np.flatnonzero(self.repeats == repeat) for repeat in np.unique(self.repeats)]
        # Copies of an image have one id, and may have two labels.
        known = self.predictions.item_ids, self.predictions.labels
        rows = [part[np.lexsort((known[1][part], known[0][part]))] for part in own]
        if any(not all(np.array_equal(one[part], one[rows[0]]) for one in known) for part in rows if len(rows)):
            sizes = ", ".join(str(len(part)) for part in rows)
            raise InputError(
                f"every repeat must contain the same images, got others in repeats of {sizes}; run it again"
            )
        item_ids, labels = (one[rows[0]] for one in known)
        correct, folds = (np.array([one[part] for part in rows]) for one in (self.predictions.correct, self.folds))
        return CrossedPredictions(item_ids, labels, correct, folds)


@dataclass(frozen=True, eq=False)
class CrossedPredictions:
    """Which items were predicted right in a cross-validation; one column per item, in the order of their ids.

    Attributes:
        item_ids: ``(n_items,)`` text.
        labels: ``(n_items,)`` names of the true classes.
        correct: ``(n_repeats, n_items)``.
        folds: Fold that held out each item, of the same shape.
    """

    item_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    correct: NDArray[np.bool_]
    folds: NDArray[np.int64]


def load_predictions(run_id: str, split: Literal["train", "val", "test"] = "test") -> Predictions:
    """Return a run's ``evaluation/<split>/predictions.parquet``.

    Raises:
        MissingArtifactError: If the run has no predictions of the split.
        InputError: If it has something else in their place.
    """
    path = f"evaluation/{split}/predictions.parquet"
    return _predictions(read_table(run_id, path, ("item_id", "label", "prediction")), run_id, path)


def load_out_of_fold(run_id: str) -> OutOfFold:
    """Return a cross-validation run's ``evaluation/cross_validation/predictions.parquet``.

    Raises:
        MissingArtifactError: If the run has no such predictions.
        InputError: If it has something else in their place.
    """
    frame = read_table(run_id, OUT_OF_FOLD, ("item_id", "label", "prediction", "fold", "repeat"))
    try:
        folds, repeats = (frame[name].to_numpy(dtype=np.int64) for name in ("fold", "repeat"))
    except (ValueError, TypeError) as error:
        raise _unreadable(run_id, OUT_OF_FOLD, str(error)) from None
    return OutOfFold(_predictions(frame, run_id, OUT_OF_FOLD), folds, repeats)


def _predictions(frame: pd.DataFrame, run_id: str, path: str) -> Predictions:
    columns = [name for name in frame.columns if name.startswith("score_")]
    item_ids, labels, predictions = (frame[name].to_numpy(dtype=np.str_) for name in ("item_id", "label", "prediction"))
    class_names = tuple(name.removeprefix("score_") for name in columns)
    try:
        scores = frame[columns].to_numpy(dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise _unreadable(run_id, path, str(error)) from None
    known = {
        name: np.array(["" if value is None or value != value else str(value) for value in frame[name]], dtype=np.str_)
        for name in frame.columns
        if name in KNOWN or name.startswith(SLICE)
    }
    return Predictions(item_ids, labels, predictions, scores, class_names, known)


def load_thumbnails(run_id: str) -> dict[str, str]:
    """Return the worst mistakes of a run on its test split: small JPEG files in base64, by item id.

    Raises:
        MissingArtifactError: If the run has no ``evaluation/test/mistakes.parquet``.
        InputError: If it has something else in its place.
    """
    frame = read_table(run_id, "evaluation/test/mistakes.parquet", ("item_id", "thumbnail"))
    pairs = zip(frame["item_id"].astype(str), frame["thumbnail"].astype(str), strict=True)
    return {item_id: text for item_id, text in pairs if len(text) <= MAX_THUMBNAIL and _BASE64.fullmatch(text)}


def load_corrupted_predictions(run_id: str) -> pd.DataFrame:
    """Return a robustness run's ``robustness/predictions.parquet``: one row per test image.

    Columns are ``item_id``, ``path`` (not of versions before 0.2.0), ``label``, ``clean`` and one per corrupted test
    set, such as ``fog 3``; from ``label`` on they hold class names.

    Raises:
        MissingArtifactError: If the run has no such predictions.
        InputError: If it has something else in their place.
    """
    return read_table(run_id, "robustness/predictions.parquet", ("item_id", "label", "clean"), coded=True)


def read_table(run_id: str, path: str, needed: tuple[str, ...], *, coded: bool = False) -> pd.DataFrame:
    """Return a Parquet artifact of texts and numbers; its size is checked before it is unpacked.

    ``coded`` allows dictionary-encoded columns, whose unpacked size is not bounded by that of the file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with scratch_folder() as folder:
        file = download(run_id, path, folder, MAX_TABLE_BYTES)
        try:
            with parquet.ParquetFile(file) as table:
                n_cells = table.metadata.num_rows * table.metadata.num_columns
                plain = all(_is_plain(kind, coded) for kind in table.schema_arrow.types)
                if n_cells > MAX_CELLS or not plain or not set(needed) <= set(table.schema_arrow.names):
                    raise _unreadable(run_id, path, f"{n_cells} cells of {str(table.schema_arrow.names)[:100]}")
                # The file's pandas metadata is ignored: only columns count.
                frame: pd.DataFrame = table.read().replace_schema_metadata(None).to_pandas()
                return frame
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise _unreadable(run_id, path, str(error)) from None


def _is_plain(kind: Any, coded: bool) -> bool:
    from pyarrow import types

    kind = kind.value_type if coded and types.is_dictionary(kind) else kind
    tests = (types.is_string, types.is_large_string, types.is_floating, types.is_integer)
    return any(test(kind) for test in tests)


def _unreadable(run_id: str, path: str, got: str) -> InputError:
    message = (got.splitlines() or [""])[0][:150]
    return InputError(f"{path} must be a table as a stage logs it, got {message} in run {run_id}; use another run")
