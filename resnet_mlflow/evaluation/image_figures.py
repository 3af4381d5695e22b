"""Figures with images that runs log, as tiles on one page: confused pairs and attention maps.

Pillow draws the former, which every run writes, and matplotlib the latter.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.evaluation.canvas import DPI, TITLE_GAP, Page, Text, Tile, pixels_of
from resnet_mlflow.evaluation.figures import (
    BLUE,
    GREY,
    ORANGE,
    TEXT_POINTS,
    TITLE_POINTS,
    WIDTH_INCHES,
    display_names,
    has_glyph,
    new_figure,
)
from resnet_mlflow.evaluation.scores import Evaluation, confused_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Height of a line of tiles with its text, in tile widths.
LINE_HEIGHT = 1.45
MARGIN_INCHES, TITLE_INCHES = 0.15, 0.3


def confused_pairs_page(
    evaluation: Evaluation,
    read_image: Callable[[int], NDArray[np.uint8]],
    paths: Sequence[str] = (),
    *,
    n_pairs: int = 5,
    n_images: int = 6,
) -> Page:
    """Return a page of the most common confusions, one line of images per pair, the most confident mistakes first.

    Args:
        evaluation: Scored items; its rows are the arguments of ``read_image``.
        read_image: Returns the image of a row, ``(height, width, 3)`` or ``(height, width)`` uint8 of any size.
        paths: File of each row; its name is shown below the image. Empty if images are not files.
        n_pairs: Maximum number of pairs of label and prediction.
        n_images: Maximum number of images per pair.
    """
    pairs = confused_pairs(evaluation.confusion, n_pairs)
    names = display_names(evaluation.class_names, 30)
    width, height = (round(inches * DPI) for inches in _page_inches(n_images, len(pairs) or 0.3))
    unit, left, top = _tile_inches(n_images) * DPI, MARGIN_INCHES * DPI, (MARGIN_INCHES + TITLE_INCHES) * DPI
    heading = "Most common confusions, label → prediction; p is the probability of the wrong class"
    tiles, texts = [], [Text(left, top - pixels_of(TITLE_GAP), heading, TITLE_POINTS)]
    if not pairs:
        message = f"No confusions: all {len(evaluation.labels):,} images are correct."
        texts.append(Text(left, top + 0.3 * unit, message, TITLE_POINTS))
    for line, (label, prediction, count) in enumerate(pairs):
        y = top + line * LINE_HEIGHT * unit
        of = int(evaluation.confusion[label].sum())
        title = f"{names[label]}  →  {names[prediction]}:  {count:,} of {of:,} ({count / of:.1%})"
        texts.append(Text(left, y + 0.17 * unit, title, TEXT_POINTS + 2))
        rows = np.flatnonzero((evaluation.labels == label) & (evaluation.predictions == prediction))
        sure = np.argsort(-evaluation.probabilities[rows, prediction], kind="stable")
        for column, row in enumerate(rows[sure][:n_images].tolist()):
            x = left + column * unit
            tiles.append(_tile(read_image(row), x, y + 0.24 * unit, 0.97 * unit))
            probability = f"p = {evaluation.probabilities[row, prediction]:.2f}"
            message = _fitting(probability, paths[row], 0.97 * unit) if paths else probability
            texts.append(Text(x, y + 1.33 * unit, message, TEXT_POINTS, GREY))
    return Page(width, height, tiles, texts)


def _fitting(probability: str, path: str, width: float, n_characters: int = 11) -> str:
    """Return a probability and as much of a file's name as fits next to it."""
    for n_kept in range(n_characters, 1, -1):
        message = f"{probability}  {file_name(path, n_kept)}".rstrip()
        if Text(0, 0, message, TEXT_POINTS).box()[2] <= width:
            return message
    return probability


def attention_figure(
    evaluation: Evaluation,
    rows: NDArray[np.int64],
    images: NDArray[np.uint8],
    maps: NDArray[np.floating[Any]],
    paths: Sequence[str] = (),
) -> "Figure":
    """Return a figure of each image next to its attention map, with label, prediction and probability.

    Args:
        evaluation: The evaluation that the rows refer to.
        rows: Rows of ``evaluation``, right ones first, ``(n,)``.
        images: Inputs of the network, ``(n, height, width, 3)``.
        maps: Attention in [0, 1], ``(n, height, width)``.
        paths: File of each row of ``evaluation``; empty if images are not files.
    """
    names = display_names(evaluation.class_names, 22)
    n_columns = 3
    figure, axes = _tile_axes(2 * n_columns, max(1, math.ceil(len(rows) / n_columns)))
    axes.set_title("Grad-CAM of the predicted class: yellow supports it most", loc="left", fontsize=TITLE_POINTS)
    for i, (row, image, heat) in enumerate(zip(rows, images, maps, strict=True)):
        x, y = 2 * (i % n_columns), (i // n_columns) * LINE_HEIGHT
        label, prediction = evaluation.labels[row], evaluation.predictions[row]
        verdict, colour = ("right", BLUE) if label == prediction else ("wrong", ORANGE)
        message = f"{verdict}: {names[prediction]} ({evaluation.probabilities[row, prediction]:.2f})"
        axes.text(x, y + 0.15, message, fontsize=TEXT_POINTS, color=colour, parse_math=False)
        axes.text(x, y + 0.31, f"label: {names[label]}", fontsize=TEXT_POINTS, parse_math=False)
        _draw_tile(axes, image, x, y + 0.37, 0.96)
        _draw_tile(axes, _under(image, heat), x + 0.97, y + 0.37, 0.96)
        if paths:
            axes.text(x, y + 1.41, file_name(paths[row], 30), fontsize=TEXT_POINTS, color=GREY, parse_math=False)
    return figure


def map_figure(image: NDArray[np.uint8], heat: NDArray[np.floating[Any]], title: str) -> "Figure":
    """Return a figure of an image next to its attention map.

    Args:
        image: Input of the network, ``(height, width, 3)``.
        heat: Attention in [0, 1], ``(height, width)``.
        title: Shown above them: the predicted class.
    """
    figure, axes = _tile_axes(2, 1)
    axes.set_title(f"Grad-CAM: {title}", loc="left", fontsize=TITLE_POINTS, parse_math=False)
    _draw_tile(axes, image, 0, 0.05, 0.96)
    _draw_tile(axes, _under(image, heat), 1, 0.05, 0.96)
    return figure


def _under(image: NDArray[np.uint8], heat: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an image overlaid with its attention map: yellow supports the class most."""
    from matplotlib import colormaps

    opacity = 0.65 * heat[..., None]
    blended = (1 - opacity) * image / 255 + opacity * colormaps["viridis"](heat)[..., :3]
    return np.asarray(blended * 255, dtype=np.uint8)


def file_name(path: str, n_characters: int) -> str:
    """Return a file's name without its folder, for a figure; long names keep their end, which distinguishes files.

    Characters that a figure cannot show become question marks.

    Example:
        >>> file_name("crow/photo_of_a_crow_0001.jpg", 12)
        '…ow_0001.jpg'
    """
    name = "".join(character if has_glyph(character) else "?" for character in path.rpartition("/")[2])
    return name if len(name) <= n_characters else f"…{name[1 - n_characters :]}"


def _tile_inches(n_columns: int) -> float:
    return (WIDTH_INCHES - 2 * MARGIN_INCHES) / n_columns


def _page_inches(n_columns: int, n_lines: float) -> tuple[float, float]:
    """Return width and height of a page of tiles below its title."""
    return WIDTH_INCHES, _tile_inches(n_columns) * LINE_HEIGHT * n_lines + 2 * MARGIN_INCHES + TITLE_INCHES


def _tile_axes(n_columns: int, n_lines: float) -> tuple["Figure", "Axes"]:
    """Return a page of square tiles, one unit wide, counted from the top left; one Axes per tile would be slow."""
    width, height = _page_inches(n_columns, n_lines)
    figure = new_figure(height)
    share = 1 - (2 * MARGIN_INCHES + TITLE_INCHES) / height
    box = (MARGIN_INCHES / width, MARGIN_INCHES / height, 1 - 2 * MARGIN_INCHES / width, share)
    axes = figure.add_axes(box, xlim=(0, n_columns), ylim=(LINE_HEIGHT * n_lines, 0))
    axes.set_axis_off()
    return figure, axes


def _draw_tile(axes: "Axes", image: NDArray[np.uint8], x: float, y: float, side: float) -> None:
    x, y, w, h = _centred(image, x, y, side)
    smoothing = "nearest" if _is_tiny(image) else "antialiased"
    axes.imshow(image, "gray", vmin=0, vmax=255, extent=(x, x + w, y + h, y), interpolation=smoothing, aspect="auto")


def _tile(image: NDArray[np.uint8], x: float, y: float, side: float) -> Tile:
    x, y, w, h = _centred(image, x, y, side)
    size = max(1, round(w)), max(1, round(h))
    picture = Image.fromarray(image)
    if _is_tiny(image):
        shown = picture.resize(size, Image.Resampling.NEAREST)
    else:
        # Of large pictures, whole blocks of pixels are averaged first, which saves most of the time.
        shown = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    return Tile(round(x), round(y), shown)


def _is_tiny(image: NDArray[np.uint8]) -> bool:
    """Return whether an image's pixels stay squares; those of larger ones are averaged down."""
    return bool(max(image.shape[:2]) <= 96)


def _centred(image: NDArray[np.uint8], x: float, y: float, side: float) -> tuple[float, float, float, float]:
    """Return left, top, width and height of an image in the square of that side at ``x`` and ``y``."""
    h, w = (side * pixels / max(image.shape[:2]) for pixels in image.shape[:2])
    return x + (side - w) / 2, y + (side - h) / 2, w, h
