"""Reasons within a picture for not answering: its brightness, compared with that of calibration pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.audit.measuring import light_of

Floats = NDArray[np.floating[Any]]
Light = NDArray[np.float32]

# Number of pixels used on the shorter side: brightness needs no more, and requests take no longer.
_LOOKED_AT = 64
# Share of calibration pictures beyond the limit of each cause.
_BEYOND = 0.01
_MEAN, _, _, _CONTRAST = range(4)


@dataclass(frozen=True)
class Cause:
    """One way in which a picture differs from those of training.

    Attributes:
        name: Name in answers.
        column: Column in the result of ``light_of``.
        is_low: Whether low values are the fault; otherwise high ones are.
    """

    name: str
    column: int
    is_low: bool


# The first that applies is reported.
CAUSES = (
    Cause("too dark", _MEAN, True),
    Cause("too bright", _MEAN, False),
    Cause("too little contrast", _CONTRAST, True),
)


def measure_light(images: NDArray[np.uint8]) -> Light:
    """Return mean, 5th and 95th percentile of the luminance and their distance, in [0, 1], ``(n_images, 4)``.

    Args:
        images: ``(n_images, height, width, 3)``; pixels are subsampled at regular steps.
    """
    step = max(1, min(images.shape[1:3]) // _LOOKED_AT)
    few = np.ascontiguousarray(images[:, ::step, ::step])
    return np.array([light_of(np.asarray(Image.fromarray(image).convert("L"))) for image in few], dtype=np.float32)


def fit_limits(light: Light) -> dict[str, float]:
    """Return the limit of each cause by name; one calibration picture in a hundred is beyond it.

    Args:
        light: Brightness of calibration pictures, ``(n_images, 4)``.
    """
    shares = {cause: _BEYOND if cause.is_low else 1 - _BEYOND for cause in CAUSES}
    return {cause.name: float(np.quantile(light[:, cause.column], share)) for cause, share in shares.items()}


def explain(light: Light, limits: Mapping[str, float]) -> NDArray[np.str_]:
    """Return the first cause that applies to each picture, ``(n_images,)``; empty texts if none does.

    Args:
        light: Brightness of the pictures, ``(n_images, 4)``.
        limits: Result of ``fit_limits``; causes without a limit are ignored.
    """
    known = [cause for cause in CAUSES if cause.name in limits]
    holds = [_beyond(cause)(light[:, cause.column], limits[cause.name]) for cause in known]
    return np.select(holds, [cause.name for cause in known], "") if known else np.full(len(light), "")


def _beyond(cause: Cause) -> Callable[[Floats, float], NDArray[np.bool_]]:
    return np.less if cause.is_low else np.greater
