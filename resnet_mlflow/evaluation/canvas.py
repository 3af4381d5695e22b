"""Pages that Pillow draws, in the font and the sizes of the figures.

Every run of a study writes some of them, and matplotlib takes several times as long.
"""

import struct
import unicodedata
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

DPI = 110
TITLE_GAP = 6.0  # points from the baseline of a title to what is below it, matplotlib's default


def pixels_of(points: float) -> float:
    """Return a length in pixels."""
    return points * DPI / 72


class Text(NamedTuple):
    """A line of text on a page.

    Attributes:
        x: Of its anchor, in pixels from the left.
        y: Of its anchor, in pixels from the top.
        text: Without line breaks. A character that the font lacks becomes an empty box.
        points: Size of the font.
        colour: As Pillow names it.
        anchor: One of Pillow's; ``ls`` is the left end of the baseline.
    """

    x: float
    y: float
    text: str
    points: float
    colour: str = "black"
    anchor: str = "ls"

    @property
    def place(self) -> tuple[int, int]:
        """The anchor's pixel: between two of them, every stroke would blur."""
        return round(self.x), round(self.y)

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """Of its size, with a layout fit for its letters."""
        return _font(self.points, any(unicodedata.bidirectional(letter) in ("R", "AL", "NSM") for letter in self.text))

    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of its ink, in pixels."""
        left, top, right, bottom = self.font.getbbox(self.text, anchor=self.anchor)
        x, y = self.place
        return x + left, y + top, x + right, y + bottom


class Tile(NamedTuple):
    """An image on a page, in pixels from the top left."""

    left: int
    top: int
    image: Image.Image


class Page(NamedTuple):
    """What stands on a white page of so many pixels."""

    width: int
    height: int
    tiles: list[Tile]
    texts: list[Text]

    def draw(self) -> Image.Image:
        """Return the page in RGB."""
        page = Image.new("RGB", (self.width, self.height), "white")
        for tile in self.tiles:
            page.paste(tile.image, (tile.left, tile.top))
        write_texts(page, self.texts)
        return page


def write_texts(page: Image.Image, texts: Iterable[Text]) -> None:
    """Write lines of text on a page."""
    pen = ImageDraw.Draw(page)
    for text in texts:
        pen.text(text.place, text.text, text.colour, text.font, text.anchor)


def write_png(page: Image.Image, path: Path) -> None:
    """Write an RGB page as a PNG file.

    Pillow takes twice as long, because it tries five filters on every row, and saves next to nothing by that.
    """
    pixels = np.asarray(page)
    height, width, n_channels = pixels.shape
    rows = pixels.reshape(height, width * n_channels)
    # Differences to the row above: of charts and tiny images, most are zero.
    filtered = np.full((height, 1 + rows.shape[1]), 2, dtype=np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    # Packed as tightly as can be, the file would be a tenth smaller and take three times as long.
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, level=1)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@lru_cache(maxsize=1)
def font_file() -> str:
    """Return the file of DejaVu Sans, which matplotlib brings along."""
    from matplotlib import font_manager

    return str(font_manager.findfont("DejaVu Sans"))


@lru_cache(maxsize=8)
def _font(points: float, is_shaped: bool) -> ImageFont.FreeTypeFont:
    # Basic layout spaces letters as evenly as matplotlib does. Only Pillow's other one, which it takes by itself where
    # it has the library, joins letters, turns lines that run from right to left, and puts marks on their letters.
    layout = None if is_shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(font_file(), pixels_of(points), layout_engine=layout)
