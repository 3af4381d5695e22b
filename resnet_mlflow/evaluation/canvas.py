"""Pages drawn by Pillow, in the font and the sizes of the figures.

Every run of a study writes some, and matplotlib takes several times as long.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

DPI = 110
TITLE_GAP = 6.0  # points from the baseline of a title to what is below it, matplotlib's default


def pixels_of(points: float) -> float:
    """Return a length in pixels."""
    return points * DPI / 72


class Text(NamedTuple):
    """A line of text on a page.

    Attributes:
        x: Position of its anchor, in pixels from the left.
        y: Position of its anchor, in pixels from the top.
        text: Without line breaks. A character that the font lacks becomes an empty box.
        points: Font size.
        colour: Name of a colour in Pillow.
        anchor: Anchor as in Pillow; ``ls`` is the left end of the baseline.
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
        """DejaVu Sans in its size, with a layout that suits its letters."""
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
    """Tiles and texts on a white page; sizes are in pixels."""

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
    """Write a page as a PNG file."""
    # Maximum compression would make the file a tenth smaller and take three times as long.
    page.save(path, compress_level=1)


@lru_cache(maxsize=1)
def font_file() -> str:
    """Return the file of DejaVu Sans, which is part of matplotlib."""
    from matplotlib import font_manager

    return str(font_manager.findfont("DejaVu Sans"))


@lru_cache(maxsize=8)
def _font(points: float, is_shaped: bool) -> ImageFont.FreeTypeFont:
    # The basic layout spaces letters as evenly as matplotlib does. Only Pillow's default, if it has the library, joins
    # letters, reverses lines that run from right to left, and places marks on their letters.
    layout = None if is_shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(font_file(), pixels_of(points), layout_engine=layout)
