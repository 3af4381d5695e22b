"""The form in which MLflow serves a classifier: its loader, what a request may hold, and what comes back.

``resnet_mlflow.serving`` is the ``loader_module`` of every packaged model. A host that serves one has the model's
requirements and the copy of this package that travels with it, nothing else of the project.
"""

import contextlib
import io
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pybase64
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.data.decoding import BadImageError, image_format
from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.classifier import Classifier, Images, Scores, read_classifier

COLUMN = "image"
# 8192 x 8192, or 200 MB of memory per decoding thread: more than cameras make, less than what stops a server.
MAX_PIXELS = 2**26


class RequestError(MlflowException):
    """A request that breaks a rule: HTTP status 400 with one line.

    MLflow's server puts the whole request before an error's message; the answer keeps the line as it was.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        super().__init__(line, error_code=INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """Return the body of the HTTP answer."""
        return json.dumps({"error_code": self.error_code, "message": self._line})


class ServedClassifier:
    """What MLflow calls to predict: a table or pixels in, a table out."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        # Requests come in many threads. Each uses all cores, so that two at a time would only double the memory.
        self._one_at_a_time = threading.Lock()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return ``label``, ``probability`` and ``scores`` (class name to probability, best first) per image.

        Args:
            model_input: A table whose column ``image`` holds the base64 text or the bytes of image files, or uint8
                pixels ``(n_images, height, width, 3)``.
            params: ``top_k``: how many classes ``scores`` has; 0 means all.

        Raises:
            RequestError: If the input breaks a rule.
        """
        try:
            top_k = _top_k(params or {})
            images = read_images(model_input)
            with self._one_at_a_time:
                scores = self.classifier.predict_proba(images)
        except BadImageError as error:
            raise RequestError(
                f"{error.path}: an image must be whole, got a damaged one ({error.reason}); send it again"
            ) from None
        except InputError as error:
            raise RequestError(str(error)) from None
        return _answer(scores, self.classifier.class_names, top_k)

    def get_raw_model(self) -> Classifier:
        """Return the classifier itself."""
        return self.classifier


def load_served_classifier(path: str, model_config: Mapping[str, Any] | None = None) -> ServedClassifier:
    """Return the model in a folder, on the device that ``model_config`` names."""
    return ServedClassifier(read_classifier(Path(path), (model_config or {}).get("device", "auto")))


def read_images(model_input: Any) -> Images:
    """Return a request's images: pixels as they are, or the content of the image files that it holds.

    No cell is ever taken for a path or an address, and no image is decoded here.

    Raises:
        InputError: If it holds no images, or something else.
    """
    cells = _cells(model_input)
    if len(cells) == 0:
        raise InputError("a request must hold at least one image, got none; add rows")
    if isinstance(cells, np.ndarray) and cells.ndim > 1:
        return _checked_pixels(cells)
    return [_checked_file(row, cell) for row, cell in enumerate(cells)]


def _cells(model_input: Any) -> Sequence[Any] | NDArray[Any]:
    """Return what stands in the column of images, whichever way MLflow's parsers hand it over."""
    if isinstance(model_input, list):
        has_rows = bool(model_input) and all(isinstance(row, dict) for row in model_input)
        model_input = pd.DataFrame(model_input) if has_rows else np.array(model_input)
    if isinstance(model_input, np.ndarray):
        return np.atleast_1d(model_input)
    if isinstance(model_input, pd.DataFrame | dict):
        if len(model_input) and COLUMN not in model_input:
            raise InputError(f"a table must have a column {COLUMN!r}, got {list(model_input)[:5]}; rename it")
        column: Any = model_input.get(COLUMN, [])
        return np.atleast_1d(column) if isinstance(column, np.ndarray | str) else list(column)
    raise InputError(f"a request must be a table or uint8 pixels, got {type(model_input).__name__}; send a table")


def _checked_pixels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape:
        raise InputError(f"pixels must be (n_images, height, width, 3), got shape {pixels.shape}; add the missing axis")
    if pixels.dtype == np.uint8:
        return pixels
    # Numbers in JSON come as int64.
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 255:
        raise InputError(f"pixels must be whole numbers from 0 to 255, got {pixels.dtype}; scale and round them")
    return pixels.astype(np.uint8)


def _checked_file(row: int, cell: Any) -> bytes:
    """Return the content of an image file, known to be of a format we read and of a size that fits into memory."""
    cell = cell.item() if isinstance(cell, np.ndarray) and cell.ndim == 0 else cell
    if isinstance(cell, str):
        cell = _decoded(row, cell)
    if not isinstance(cell, bytes | bytearray):
        raise InputError(f"row {row}: an image must be base64 text or bytes, got {type(cell).__name__}; send the file")
    content = bytes(cell)
    if image_format(content[:12]) is None:
        raise InputError(f"row {row}: bytes must be an image file (JPEG, PNG, ...), got {len(content)} of another kind")
    width, height = _size_of(row, content)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"row {row}: an image must have at most {MAX_PIXELS} pixels, got {width} x {height}; shrink it"
        )
    return content


def _decoded(row: int, text: str) -> bytes:
    """Return what a base64 text holds; line breaks in it are allowed, and rare."""
    for written in (text, "".join(text.split())):
        with contextlib.suppress(ValueError):
            return pybase64.b64decode(written, validate=True)
    raise InputError(
        f"row {row}: an image must be base64 text, got {text[:20]!r}, which is none; encode the file's bytes"
    )


def _size_of(row: int, content: bytes) -> tuple[int, int]:
    """Return width and height as the file's header tells them: nothing is decoded."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(_too_large(row, str(error).split(" exceeds")[0].lower())) from None
    except Exception as error:  # as in decode_with_pil
        raise InputError(_damaged(f"row {row}", str(error))) from None


def _damaged(where: str, reason: str) -> str:
    return f"{where}: an image must be whole, got a damaged one ({reason}); send it again"


def _too_large(row: int, found: str) -> str:
    return f"row {row}: an image must have at most {MAX_PIXELS} pixels, got {found}; shrink it"


def _top_k(params: Mapping[str, Any]) -> int:
    top_k = int(params.get("top_k", 0))
    if top_k < 0:
        raise InputError(f"top_k must be at least 0 (0 means all classes), got {top_k}; pass 1 or more")
    return top_k


def _answer(scores: Scores, class_names: Sequence[str], top_k: int) -> pd.DataFrame:
    n_shown = min(top_k or len(class_names), len(class_names))
    # Stable, so that of equal scores the first class wins, as it does in evaluation.
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n_shown]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    return pd.DataFrame(
        {
            "label": [class_names[row[0]] for row in order],
            "probability": best[:, 0],
            "scores": [
                {class_names[index]: score for index, score in zip(row, values, strict=True)}
                for row, values in zip(order.tolist(), best.tolist(), strict=True)
            ],
        }
    )
