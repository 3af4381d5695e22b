"""What in a picture itself explains that it is not answered: its light, beside that of calibration pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.audit.measuring import light_of

Floats = NDArray[np.floating[Any]]
Light = NDArray[np.float32]

# Pixels of the shorter side that are looked at: light needs no more, and a request no longer for it.
_LOOKED_AT = 64
# Share of calibration pictures beyond the limit of each cause.
_BEYOND = 0.01
_MEAN, _, _, _CONTRAST = range(4)


@dataclass(frozen=True)
class Cause:
    """One way in which a picture differs from those of training.

    Attributes:
        name: What answers call it.
        column: Of the numbers that ``light_of`` gives.
        is_low: Whether low numbers are the fault, else high ones.
    """

    name: str
    column: int
    is_low: bool


# The first that applies is given.
CAUSES = (
    Cause("too dark", _MEAN, True),
    Cause("too bright", _MEAN, False),
    Cause("too little contrast", _CONTRAST, True),
)


def measure_light(images: NDArray[np.uint8]) -> Light:
    """Return mean, 5th and 95th percentile of the luminance and their distance, in [0, 1], ``(n_images, 4)``.

    Args:
        images: ``(n_images, height, width, 3)``; every so many-th pixel is looked at.
    """
    step = max(1, min(images.shape[1:3]) // _LOOKED_AT)
    few = np.ascontiguousarray(images[:, ::step, ::step])
    return np.array([light_of(np.asarray(Image.fromarray(image).convert("L"))) for image in few], dtype=np.float32)


def fit_limits(light: Light) -> dict[str, float]:
    """Return the limit of each cause by name, beyond which one calibration picture in a hundred lies.

    Args:
        light: Of calibration pictures, ``(n_images, 4)``.
    """
    shares = {cause: _BEYOND if cause.is_low else 1 - _BEYOND for cause in CAUSES}
    return {cause.name: float(np.quantile(light[:, cause.column], share)) for cause, share in shares.items()}


def explain(light: Light, limits: Mapping[str, float]) -> NDArray[np.str_]:
    """Return the first cause that holds of each picture, ``(n_images,)``; empty texts where none does.

    Args:
        light: Of the pictures, ``(n_images, 4)``.
        limits: From ``fit_limits``; causes without one are left out.
    """
    known = [cause for cause in CAUSES if cause.name in limits]
    holds = [_beyond(cause)(light[:, cause.column], limits[cause.name]) for cause in known]
    return np.select(holds, [cause.name for cause in known], "") if known else np.full(len(light), "")


def _beyond(cause: Cause) -> Callable[[Floats, float], NDArray[np.bool_]]:
    return np.less if cause.is_low else np.greater
