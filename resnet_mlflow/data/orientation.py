"""Orientation of a picture by its EXIF data; unreadable data mean no orientation."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TAG = 0x0112
Pixels = NDArray[np.uint8]

# EXIF 2.3, table 6: turns stored pixels into displayed ones.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def read_orientation(load_exif: Callable[[], Image.Exif]) -> int:
    """Return a number from 1 (upright) to 8.

    Args:
        load_exif: Returns the EXIF data; any exception means that there are none.
    """
    with suppress(Exception):  # a damaged entry can make Pillow raise anything
        orientation = load_exif().get(_TAG, 1)
        return orientation if orientation in _TURNS else 1
    return 1


def parse_exif(content: bytes | None) -> Image.Exif:
    """Return the EXIF data in a file's segment; empty without a segment."""
    exif = Image.Exif()
    if content is not None:
        exif.load(content)
    return exif


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return ``(height, width, 3)`` pixels turned upright, contiguous."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))
