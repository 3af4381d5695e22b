"""Properties of images for comparing new images with a reference."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.audit.measuring import sharpness_of
from resnet_mlflow.data.loading import Change
from resnet_mlflow.data.resizing import resize_shorter
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.monitoring.kernel import Space
from resnet_mlflow.uncertainty.pictures import measure_light
from resnet_mlflow.uncertainty.rules import Rules

Floats = NDArray[np.floating[Any]]

BRIGHTNESS, CONTRAST, SHARPNESS = PICTURES = ("brightness", "contrast", "sharpness")
# Shorter side in pixels at which pictures are measured, whatever their size.
_SIDES = 32, 256
_MEAN, _SPREAD = 0, 3


@dataclass(frozen=True, eq=False)
class Observed:
    """Properties of images.

    Attributes:
        labels: Index of the class answered by the classifier, ``(n_images,)``.
        confidences: Probability of the most probable class, ``(n_images,)``.
        features: Features in the space of a reference, ``(n_images, n_features)``; None if there are only answers.
        pictures: ``PICTURES`` of each, ``(n_images, 3)``, NaN if missing; None if there are only answers.
    """

    labels: NDArray[np.int64]
    confidences: Floats
    features: NDArray[np.float32] | None = None
    pictures: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: NDArray[np.int64]) -> "Observed":
        """Return the properties of the given images."""
        parts = {name: values[rows] for name, values in vars(self).items() if values is not None}
        return replace(self, **parts)

    def picture(self, name: str) -> Floats:
        """Return one of ``PICTURES`` for the images that have it, ``(n,)``."""
        if self.pictures is None:
            return np.zeros(0)
        column = self.pictures[:, PICTURES.index(name)]
        return np.asarray(column[~np.isnan(column)])


def measure_pictures(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``PICTURES``, ``(n_images, 3)``: mean luminance and its spread (5 % to 95 %) in [0, 1], and sharpness.

    Args:
        images: ``(n_images, height, width, 3)``. Sharpness is NaN if they are under 64 pixels, see ``sharpness_of``.
    """
    smallest, largest = _SIDES
    sized = resize_shorter(images, int(np.clip(min(images.shape[1:3]), smallest, largest)))
    light = measure_light(sized)[:, [_MEAN, _SPREAD]]
    sharp = [sharpness_of(np.asarray(Image.fromarray(image).convert("L"))) for image in sized]
    return np.column_stack([light, np.array(sharp, dtype=np.float32)])


class Meter:
    """Measures images that pass through, after a change.

    Args:
        n_images: Number of images.
        change: Change applied to the images; None means none.
    """

    def __init__(self, n_images: int, change: Change | None = None) -> None:
        self.pictures = np.full((n_images, len(PICTURES)), np.nan, dtype=np.float32)
        self._change = change

    def __call__(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the changed images of some rows."""
        changed = images if self._change is None else self._change(images, rows)
        self.pictures[rows] = measure_pictures(changed)
        return changed


def observe(
    head: HeadBase, rules: Rules | None, features: Floats, space: Space, pictures: NDArray[np.float32]
) -> Observed:
    """Return the properties of images.

    Args:
        head: Head of the classifier.
        rules: Rules for withholding an answer; None means that it always answers.
        features: Features of the images, ``(n_images, n_features)``.
        space: Space for comparison.
        pictures: Result of ``measure_pictures``.
    """
    probabilities = head.predict_proba(features)
    labels = probabilities.argmax(axis=1) if rules is None else rules.decide(probabilities)
    return Observed(labels, probabilities.max(axis=1).astype(np.float32), space.place(features), pictures)
