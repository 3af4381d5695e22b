"""Pages that Pillow draws: files that readers take, and texts that keep to their boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from resnet_mlflow.data.png import check_filled, read_chunks
from resnet_mlflow.evaluation.canvas import Page, Text, Tile, write_png, write_texts


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (902, 5)])
def test_write_png_gives_the_pixels_back(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    path = tmp_path / "page.png"
    write_png(Image.fromarray(pixels), path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), pixels)
    data = path.read_bytes()
    check_filled(data, read_chunks(data), pixels)  # checksums too, which Pillow does not look at


@pytest.mark.parametrize("anchor", ["ls", "mm", "ms"])
@pytest.mark.parametrize("text", ["gj_Ä", "12345", "$x_{$", "cat  →  dog", "金魚 \ue000", "e\u0301", "عורב"])
def test_text_keeps_to_its_box(text: str, anchor: str) -> None:
    page = Image.new("RGB", (300, 100), "white")
    line = Text(100.4, 50.6, text, 12, anchor=anchor)
    write_texts(page, [line])
    rows, columns = np.nonzero(np.asarray(page.convert("L")) < 255)
    left, top, right, bottom = line.box()
    ink = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert (left - 1 <= ink[0], top - 1 <= ink[1], right + 1 >= ink[2], bottom + 1 >= ink[3]) == (True,) * 4
    assert ink == pytest.approx((left, top, right, bottom), abs=3)
    assert ink[0] == pytest.approx(100 if anchor == "ls" else 100 - (right - left) / 2, abs=3)


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow cannot join letters here")
def test_text_joins_arabic_letters_from_right_to_left() -> None:
    joined, apart = (Text(0, 0, joint.join("ببب"), 12).box() for joint in ("", "\u200c"))
    assert joined[2] < 0.9 * apart[2]
    page = Image.new("RGB", (200, 40), "white")
    write_texts(page, [Text(10, 30, "بببL", 12)])
    assert np.asarray(page)[10:20, 10:24].min() < 100  # the tall letter ends the line, hence on the left


def test_page_has_tiles_and_texts_on_white() -> None:
    tiles = [
        Tile(10, 20, Image.new("RGB", (4, 3), "red")),
        Tile(30, 20, Image.fromarray(np.full((3, 4), 7, dtype=np.uint8))),
    ]
    pixels = np.asarray(Page(60, 40, tiles, [Text(5, 15, "I", 9, "#666666")]).draw())
    assert pixels.shape == (40, 60, 3)
    assert (pixels[20:23, 10:14] == (255, 0, 0)).all()
    assert (pixels[20:23, 30:34] == 7).all()
    assert (pixels[23:] == 255).all()
    assert 0x66 <= pixels[:16, :15].min() < 200
