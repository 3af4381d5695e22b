"""Faulty images: tiny, blurred, dark, overexposed, flat, or of unusual shape or size for their class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.audit.measuring import ImageFacts

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

# A fault in a larger share of the images characterises the dataset and is not a fault of single pictures.
MOST_OF_A_FAULT = 0.2
_FEWEST_OF_A_CLASS = 10
# Shares of full luminance: the difference from which the most extreme half percent of pixels counts as content, such as
# a ring on a plain background; and the luminance below which they are ink, not remains of an overexposure.
_STANDS_OUT, _INK = 0.2, 0.5


@dataclass(frozen=True)
class Fault:
    """A possible fault of a picture.

    Attributes:
        name: Kind of the issue.
        shown: Text for readers with its figure in place of ``{:g}``.
        measure: Maps facts and labels to a figure per image, NaN if there is none.
        is_faulty: Maps figures to which images are faulty.
    """

    name: str
    shown: str
    measure: Callable[[ImageFacts, NDArray[np.int64]], Floats]
    is_faulty: Callable[[Floats], Flags]


@dataclass(frozen=True, eq=False)
class Faulty:
    """Images with one fault.

    Attributes:
        fault: The fault.
        rows: Rows of the images, the worst first.
        figures: Figures of these images.
        share: Share of all images; above ``MOST_OF_A_FAULT`` there are no rows.
    """

    fault: Fault
    rows: NDArray[np.int64]
    figures: Floats
    share: float


def find_faults(facts: ImageFacts, labels: NDArray[np.int64]) -> Iterator[Faulty]:
    """Yield the images with each fault.

    Args:
        facts: Facts about the images.
        labels: Class indices, ``(n_images,)``.
    """
    for fault in FAULTS:
        figures = fault.measure(facts, labels)
        with np.errstate(invalid="ignore"):
            found = fault.is_faulty(figures) & ~np.isnan(figures)
        share = float(found.mean()) if len(found) else 0.0
        rows = np.flatnonzero(found) if share <= MOST_OF_A_FAULT else np.zeros(0, np.int64)
        order = rows[np.argsort(_badness(fault, figures[rows]), kind="stable")]
        yield Faulty(fault, order, figures[order], share)


def _badness(fault: Fault, figures: Floats) -> Floats:
    """Return sort keys of figures, the worst first: large figures first if large is bad."""
    return -figures if fault.name in ("blown_out", "odd_aspect", "odd_size") else figures


def _shorter_side(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    return np.asarray(np.minimum(facts.column("width"), facts.column("height")))


def _sharpness(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    return facts.column("sharpness_one_way")


def _is_tiny(sides: Floats) -> Flags:
    # No image of CIFAR-10 is tiny, but among photographs an image of 32 pixels is.
    return np.asarray((sides < 16) | ((sides < 64) & (sides < np.nanmedian(sides) / 4)))


def _blown_out(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    """Return the luminance that 95 % of the pixels exceed; NaN if something dark stands out, like ink on paper."""
    return np.where(facts.column("black_point") < _INK, np.nan, facts.column("darkest"))


def _contrast(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    """Return the range of grey values without the outer tenth; NaN if something small stands out."""
    reach = facts.column("white_point") - facts.column("black_point")
    return np.where(reach > _STANDS_OUT, np.nan, facts.column("contrast"))


def _is_blurred(figures: Floats) -> Flags:
    # A Gaussian blur of 3.3 pixels at a shorter side of 256; grain and compression keep sharp pictures far from it.
    return np.asarray(figures < 0.165)


def _aspect(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    width, height = facts.column("width"), facts.column("height")
    return np.asarray(np.maximum(width / height, height / width))


def _is_odd_aspect(ratios: Floats) -> Flags:
    return np.asarray((ratios > 3) & (ratios > 2 * np.nanmedian(ratios)))


def _times_usual_size(facts: ImageFacts, labels: NDArray[np.int64]) -> Floats:
    """Return the factor by which an image is larger or smaller than its class's median; NaN in small classes."""
    side = np.sqrt(facts.column("width") * facts.column("height"))
    found = np.full(len(labels), np.nan)
    for label in np.unique(labels):
        own = (labels == label) & ~np.isnan(side)
        if own.sum() < _FEWEST_OF_A_CLASS:
            continue
        logs = np.log(side[own])
        middle, spread = np.median(logs), np.subtract(*np.percentile(logs, [75, 25]))
        off = np.abs(logs - middle)
        # Photographs naturally vary in size: only differences beyond the variation within the class count.
        found[own] = np.where(off > 3 * spread, np.exp(off), 1.0)
    return found


# Thresholds: docs/audit.md describes their effect, and tests check it.
FAULTS = (
    Fault("tiny", "{:g} pixels on the shorter side", _shorter_side, _is_tiny),
    Fault("blurred", "edge sharpness {:.2f} of a perfect step", _sharpness, _is_blurred),
    Fault(
        "dark",
        "95 % of the pixels below {:.2f} of full brightness",
        lambda facts, _: facts.column("brightest"),
        lambda light: np.asarray(light < 0.2),
    ),
    Fault(
        "blown_out",
        "95 % of the pixels above {:.2f} of full brightness",
        _blown_out,
        lambda light: np.asarray(light > 0.92),
    ),
    Fault(
        "flat",
        "grey values within {:.3f} of full brightness",
        _contrast,
        lambda contrast: np.asarray(contrast < 0.03),
    ),
    Fault("odd_aspect", "one side {:.1f} times as long as the other", _aspect, _is_odd_aspect),
    Fault(
        "odd_size",
        "{:.1f} times larger or smaller than usual for its class",
        _times_usual_size,
        lambda times: np.asarray(times > 4),
    ),
)
