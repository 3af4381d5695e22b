"""A known number of faults, planted into images and labels, which an audit should find."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Images = NDArray[np.uint8]


def _flipped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a random crop with 90 % of each side, resized to the full size."""
    width, height = image.size
    new = (round(0.9 * width), round(0.9 * height))
    left, top = (int(rng.integers(0, side - part + 1)) for side, part in zip(image.size, new, strict=True))
    return image.crop((left, top, left + new[0], top + new[1])).resize(image.size, Image.Resampling.BICUBIC)


def _compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image, resized to 60 % and back, which removes detail."""
    small = image.resize((round(0.6 * image.width), round(0.6 * image.height)), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _brighter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(float(rng.choice([0.65, 1.4])))


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "flipped": _flipped,
    "cropped": _cropped,
    "compressed": _compressed,
    "resized": _resized,
    "brightness": _brighter,
}


def plant_twins(images: Images, originals: NDArray[np.int64], seed: int) -> tuple[Images, NDArray[np.str_]]:
    """Return a changed copy of each of the originals, and the name of each change; changes take turns.

    Args:
        images: uint8, ``(n_images, height, width, 3)``.
        originals: Rows to copy.
        seed: Determines positions of crops and the like.
    """
    rng = np.random.default_rng(seed)
    names = np.array(list(CHANGES))[np.arange(len(originals)) % len(CHANGES)]
    copies = [
        np.asarray(CHANGES[name](Image.fromarray(images[row]), rng)) for name, row in zip(names, originals, strict=True)
    ]
    return np.stack(copies), names


def flip_labels(labels: NDArray[np.int64], n_wrong: int, n_classes: int, seed: int) -> NDArray[np.int64]:
    """Return the labels with that many replaced by another class, all with equal probability."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))[:n_wrong]
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + rng.integers(1, n_classes, n_wrong)) % n_classes
    return wrong
