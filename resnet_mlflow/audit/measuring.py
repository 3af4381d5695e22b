"""Measures size, brightness and sharpness of images, with a small grey copy of each, in one pass over the files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError, decode, read_content
from resnet_mlflow.data.formats import N_HEAD, image_format
from resnet_mlflow.devices import n_cores

THUMB = 32
# Brightness and sharpness are measured at this size: a photo of 24 megapixels is soft at full size but crisp when used.
_SHORTER_SIDE = 256
# Below this, no edge is long enough to distinguish soft from small.
_LEAST_FOR_SHARPNESS = 64
# Share of the larger differences of the two directions: below it, a direction has no edges that could be soft.
_HAS_EDGES = 1 / 3
_CHUNK = 64
NUMBERS = (
    "width", "height", "n_bytes", "brightness", "darkest", "brightest", "contrast", "sharpness", "sharpness_one_way",
    "black_point", "white_point", "red", "green", "blue",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Facts about each image; NaN, and a black copy, if it cannot be read.

    Attributes:
        numbers: Measurements, of shape (n_images, n_numbers), in the order of ``NUMBERS``: width and height in pixels,
            bytes of the file, mean luminance, its 5th and 95th percentiles and their distance in [0, 1], sharpness in
            (0, 1] (see ``sharpness_of``) and that of the softer direction, the 0.5th and 99.5th percentile of the
            luminance and the mean of each channel in [0, 1].
        formats: Name of the file's format, empty for arrays in memory.
        thumbs: Grey copies, uint8, ``(n_images, 32, 32)``; the whole image, whatever its aspect.
        errors: Errors of unreadable images, by row.
    """

    numbers: NDArray[np.float64]
    formats: NDArray[np.str_]
    thumbs: NDArray[np.uint8]
    errors: dict[int, BadImageError]

    def __len__(self) -> int:
        return len(self.formats)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one of ``NUMBERS`` for all images."""
        return self.numbers[:, NUMBERS.index(name)]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Return which images could be read, ``(n_images,)``."""
        return ~np.isnan(self.column("width"))


def measure_images(
    split: ImageSplit, num_workers: int = -1, on_done: Callable[[int], object] | None = None
) -> ImageFacts:
    """Return the facts of all images of a split; each file is read once.

    Args:
        split: The images.
        num_workers: Number of threads; -1 means one per core.
        on_done: Called with the number of newly finished images.
    """
    n_images = len(split)
    facts = ImageFacts(
        np.full((n_images, len(NUMBERS)), np.nan),
        np.zeros(n_images, dtype="<U12"),
        np.zeros((n_images, THUMB, THUMB), dtype=np.uint8),
        {},
    )
    chunks = [range(first, min(first + _CHUNK, n_images)) for first in range(0, n_images, _CHUNK)]
    with ThreadPoolExecutor(max(1, n_cores() if num_workers < 0 else num_workers)) as pool:
        for chunk, results in zip(chunks, pool.map(lambda rows: _measure_chunk(split, rows), chunks), strict=True):
            _keep(facts, chunk, results)
            if on_done is not None:
                on_done(len(chunk))
    return facts


_Measured = tuple[list[float], str, NDArray[np.uint8]] | BadImageError


def _keep(facts: ImageFacts, rows: Sequence[int], results: Sequence[_Measured]) -> None:
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, BadImageError):
            facts.errors[row] = result
        else:
            facts.numbers[row], facts.formats[row], facts.thumbs[row] = result


def _measure_chunk(split: ImageSplit, rows: Sequence[int]) -> list[_Measured]:
    return [_measure_row(split, row) for row in rows]


def _measure_row(split: ImageSplit, row: int) -> _Measured:
    try:
        pixels, n_bytes, form = _read(split, row)
    except BadImageError as error:
        return error
    image = Image.fromarray(pixels)
    small = image.reduce(max(1, min(image.size) // _SHORTER_SIDE))
    grey = np.asarray(small.convert("L"))
    mean = np.asarray(small).mean(axis=(0, 1)) / 255
    edges = _edges(grey)
    size = (float(image.width), float(image.height), n_bytes)
    numbers = [
        *size,
        *light_of(grey),
        _sharpness(edges),
        _sharpness_one_way(edges),
        *_levels(grey, 0.005, 0.995),
        *mean.tolist(),
    ]
    return numbers, form, np.asarray(Image.fromarray(grey).resize((THUMB, THUMB), Image.Resampling.BOX))


def _read(split: ImageSplit, row: int) -> tuple[NDArray[np.uint8], float, str]:
    if split.images is not None:
        return split.read_image(row), np.nan, ""
    path = Path(f"row {row}") if split.paths is None else split.paths[row]
    content = read_content(path, split.max_pixels) if split.encoded is None else split.encoded[row]
    return decode(path, content, split.max_pixels), float(len(content)), image_format(content[:N_HEAD]) or ""


def light_of(grey: NDArray[np.uint8]) -> list[float]:
    """Return mean, 5th and 95th percentiles of the luminance, and the distance of these two, in [0, 1].

    Args:
        grey: Luminance, uint8, ``(height, width)``.
    """
    low, high = _levels(grey, 0.05, 0.95)
    return [float(grey.mean()) / 255, low, high, high - low]


def _levels(grey: NDArray[np.uint8], *shares: float) -> list[float]:
    """Return the luminance values that these shares of the pixels do not exceed, in [0, 1]."""
    counts = np.bincount(grey.ravel(), minlength=256)
    return [int(level) / 255 for level in np.searchsorted(counts.cumsum(), np.array(shares) * grey.size)]


def sharpness_of(grey: NDArray[np.uint8]) -> float:
    """Return the steepness of the steepest edges: 1 for a step between pixels, 1/8 for a slope over 8 of 256 pixels.

    It is the ratio of the largest differences of neighbours to those over a 32nd of the shorter side. Contrast cancels,
    flat objects count by their outline, and the original size does not matter, since the image is given at 256 pixels.

    Args:
        grey: Luminance, uint8, ``(height, width)``.

    Returns:
        NaN if the image is under 64 pixels or has no edge.

    References:
        Crete et al. (2007), The blur effect: perception and estimation with a new no-reference perceptual blur metric,
        compares differences of neighbours before and after a blur; so does this, at edges alone.
    """
    return _sharpness(_edges(grey))


def _sharpness(edges: Sequence[tuple[float, float]]) -> float:
    near, far = (max((edge[place] for edge in edges), default=0.0) for place in (0, 1))
    return min(1.0, near / far) if far > 0 else float("nan")


def _sharpness_one_way(edges: Sequence[tuple[float, float]]) -> float:
    """Return the sharpness of the softer direction: a moving camera leaves edges along its motion sharp.

    A direction with differences under a third of the other's has no edges: stripes are not soft along their length.
    """
    least = max([far for _, far in edges], default=0.0) * _HAS_EDGES
    return min((min(1.0, near / far) for near, far in edges if far > 0 and far >= least), default=float("nan"))


def _edges(grey: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """Return the largest differences of neighbours, and of pixels further apart, down and across; empty if small."""
    shorter = min(grey.shape)
    if shorter < _LEAST_FOR_SHARPNESS:
        return []
    step, levels = shorter // 32, grey.astype(np.int16)
    return [
        (_steepest(np.diff(turned, axis=0)), _steepest(turned[step:] - turned[:-step])) for turned in (levels, levels.T)
    ]


def _steepest(differences: NDArray[np.int16]) -> float:
    """Return the size of the difference that one pixel in a thousand exceeds: noise of single pixels is not an edge."""
    sizes = np.abs(differences).ravel()
    return float(np.partition(sizes, -max(1, len(sizes) // 1000))[-max(1, len(sizes) // 1000)])
