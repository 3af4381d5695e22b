"""Perceptual signatures of images: their lowest frequencies, as in a DCT hash before it is reduced to bits.

Bits would be smaller, but these numbers distinguish a cropped copy from its neighbours, and flipping an image only
changes signs in its signature.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

Floats = NDArray[np.float32]

_SIDE = 7
_ORDER = np.add.outer(np.arange(_SIDE), np.arange(_SIDE))
# All frequencies up to the sixth order, except brightness.
_KEPT = (_ORDER <= _SIDE - 1) & (_ORDER > 0)
_SIGNS = (-1.0) ** np.arange(_SIDE)
_ROWS, _COLUMNS = np.nonzero(_KEPT)
_PLACE = {place: index for index, place in enumerate(zip(_ROWS.tolist(), _COLUMNS.tolist(), strict=True))}
_TRANSPOSED = np.array([_PLACE[column, row] for row, column in zip(_ROWS.tolist(), _COLUMNS.tolist(), strict=True)])
_BLOCK = 4096
# Bit 0 mirrors left and right, bit 1 top and bottom, bit 2 swaps rows and columns, in this order.
ORIENTATIONS = (
    "",
    "flipped",
    "flipped top to bottom",
    "rotated by 180",
    "transposed",
    "turned",
    "turned back",
    "transposed",
)


def signatures(thumbs: NDArray[np.uint8]) -> Floats:
    """Return unit vectors of 27 numbers, close for images that look alike; zeros for flat images.

    Contrast and brightness cancel.

    Args:
        thumbs: Grey copies, ``(n_images, side, side)``.

    References:
        Zauner (2010), Implementation and benchmarking of perceptual image hash functions, section 3.2.1: the DCT hash.
    """
    found = np.empty((len(thumbs), len(_ROWS)), dtype=np.float32)
    for first in range(0, len(thumbs), _BLOCK):
        block = thumbs[first : first + _BLOCK].astype(np.float32)
        found[first : first + _BLOCK] = dctn(block, axes=(1, 2), norm="ortho")[:, _ROWS, _COLUMNS]
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(length > 1, length, np.inf))


def oriented_signatures(found: Floats, orientation: int) -> Floats:
    """Return the signatures of the images in another orientation, see ``ORIENTATIONS``."""
    signs = np.ones(len(_ROWS))
    if orientation & 1:
        signs = signs * _SIGNS[_COLUMNS]
    if orientation & 2:
        signs = signs * _SIGNS[_ROWS]
    turned = found * signs.astype(np.float32)
    return turned[:, _TRANSPOSED] if orientation & 4 else turned


def oriented(images: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Return images ``(..., height, width)`` in another orientation, see ``ORIENTATIONS``."""
    if orientation & 1:
        images = images[..., ::-1]
    if orientation & 2:
        images = images[..., ::-1, :]
    return np.swapaxes(images, -1, -2) if orientation & 4 else images
