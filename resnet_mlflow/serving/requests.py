"""Checks requests to the served model: invalid ones are refused in one line."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pybase64
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray

from resnet_mlflow.data.decoding import BadImageError, LargeImageError, read_size
from resnet_mlflow.data.formats import N_HEAD, image_format
from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.classifier import Images

COLUMN, GROUP = "image", "group"
# 8192 x 8192, or 200 MB of memory per decoding thread: more than cameras produce, but not enough to stop a server.
MAX_PIXELS = 2**26


class RequestError(MlflowException):
    """A request that breaks a rule: HTTP status 400 with one line.

    MLflow's server prepends the whole request to an error's message; the response keeps only the line.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        super().__init__(line, error_code=INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """Return the body of the HTTP response."""
        return json.dumps({"error_code": self.error_code, "message": self._line})


def read_images(model_input: Any, max_pixels: int = MAX_PIXELS) -> Images:
    """Return a request's images: pixels, or the content of the image files in it.

    No cell is ever treated as a path or an address, and no image is decoded here.

    Args:
        model_input: A request after MLflow's parsers.
        max_pixels: Maximum number of pixels of an image, according to its header.

    Raises:
        InputError: If it holds anything but images.
    """
    cells = _cells(model_input)
    if len(cells) == 0:
        raise InputError("a request must contain at least one image, got none; add rows")
    if isinstance(cells, np.ndarray) and cells.ndim > 1:
        return _checked_pixels(cells)
    return [_checked_file(row, cell, max_pixels) for row, cell in enumerate(cells)]


def read_groups(model_input: Any) -> list[str]:
    """Return the name of each image's group if the table has this column, else an empty list."""
    if isinstance(model_input, list) and model_input and isinstance(model_input[0], dict):
        model_input = pd.DataFrame(model_input)
    if isinstance(model_input, pd.DataFrame) and GROUP in model_input:
        return [str(name) for name in model_input[GROUP]]
    return []


def _cells(model_input: Any) -> Sequence[Any] | NDArray[Any]:
    """Return the cells of the image column, in any form that MLflow's parsers produce."""
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
    # Numbers in JSON arrive as int64.
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 255:
        raise InputError(f"pixels must be whole numbers from 0 to 255, got {pixels.dtype}; scale and round them")
    return pixels.astype(np.uint8)


def _checked_file(row: int, cell: Any, max_pixels: int) -> bytes:
    """Return the content of an image file after checking that its format is supported and its size fits into memory."""
    cell = cell.item() if isinstance(cell, np.ndarray) and cell.ndim == 0 else cell
    if isinstance(cell, str):
        cell = _decoded(row, cell)
    if not isinstance(cell, bytes | bytearray):
        raise InputError(f"row {row}: an image must be base64 text or bytes, got {type(cell).__name__}; send the file")
    content = bytes(cell)
    if image_format(content[:N_HEAD]) is None:
        raise InputError(f"row {row}: bytes must be an image file (JPEG, PNG, ...), got {len(content)} of another kind")
    try:
        read_size(Path(f"row {row}"), content, max_pixels)
    except LargeImageError as error:
        raise InputError(
            f"row {row}: an image must have at most {max_pixels} pixels, got {error.found}; shrink it"
        ) from None
    except BadImageError as error:
        raise InputError(damaged(f"row {row}", error.reason)) from None
    return content


def _decoded(row: int, text: str) -> bytes:
    """Return the content of a base64 text; line breaks in it are allowed, and rare."""
    for written in (text, "".join(text.split())):
        with contextlib.suppress(ValueError):
            return pybase64.b64decode(written, validate=True)
    raise InputError(
        f"row {row}: an image must be base64 text, got {text[:20]!r}, which is not; encode the file's bytes"
    )


def damaged(where: str, reason: str) -> str:
    """Return the error line for an image that cannot be decoded."""
    return f"{where}: an image must be undamaged, got a damaged one ({reason}); send it again"


def read_top_k(params: Mapping[str, Any]) -> int:
    """Return the number of classes in the answer, 0 for all.

    Raises:
        InputError: If it is not a non-negative integer.
    """
    given = params.get("top_k", 0)
    try:
        top_k = int(given)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"top_k must be a whole number, got {str(given)[:20]!r}; pass 1 or more") from None
    if top_k < 0:
        raise InputError(f"top_k must be at least 0 (0 means all classes), got {top_k}; pass 1 or more")
    return top_k
