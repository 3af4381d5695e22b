"""Figures of the difference between two runs: confusions, and images that only one of them classifies correctly."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.evaluation.figures import (
    BLUE,
    ORANGE,
    TEXT_POINTS,
    WIDTH_INCHES,
    display_names,
    new_figure,
    tick_step,
)
from resnet_mlflow.evaluation.image_figures import file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED_CLASSES = 20
# Heights of the title above a row of images and of the text below, in inches.
LINE_INCHES = 1.0


def confusion_difference_figure(difference: NDArray[np.int64], class_names: Sequence[str]) -> "Figure":
    """Return confusions of the second run minus those of the first: increases are orange, decreases blue.

    Args:
        difference: ``(n_classes, n_classes)``, rows are labels.
        class_names: Names of classes.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    n_classes = len(difference)
    figure = new_figure(WIDTH_INCHES * 0.86)
    axes = figure.add_axes((0.2, 0.2, 0.62, 0.72))
    limit = max(1, int(np.abs(difference).max()))
    colours = LinearSegmentedColormap.from_list("difference", [BLUE, "white", ORANGE])
    image = axes.imshow(difference, cmap=colours, vmin=-limit, vmax=limit)
    step = tick_step(n_classes)
    ticks = list(range(0, n_classes, step))
    names = [name for tick, name in enumerate(display_names(class_names)) if tick % step == 0]
    axes.set_xticks(ticks, names, rotation=90, fontsize=TEXT_POINTS, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=TEXT_POINTS, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title("Images: second run minus first", fontsize=11)
    if n_classes <= MAX_NUMBERED_CLASSES:
        for row, column in zip(*np.nonzero(difference), strict=True):
            value = difference[row, column]
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:+d}", ha="center", va="center", fontsize=TEXT_POINTS, color=colour)
    bar = figure.add_axes((0.85, 0.2, 0.03, 0.72))
    figure.colorbar(image, cax=bar, ticks=MaxNLocator(integer=True))
    return figure


def changed_items_figure(
    changed: pd.DataFrame, read_image: Callable[[str], NDArray[np.uint8]], class_names: Sequence[str], n_images: int
) -> "Figure":
    """Return images that only one of two runs classified correctly: a row of those gained, a row of those lost.

    Args:
        changed: ``item_id``, ``path``, ``label``, ``first``, ``second``, ``gained``.
        read_image: Returns the image of an item.
        class_names: Names of all classes.
        n_images: Maximum number of images per row.
    """
    sides = [("gained", "second", changed[changed["gained"]]), ("lost", "first", changed[~changed["gained"]])]
    lines = [side for side in sides if len(side[2])]
    tile = WIDTH_INCHES / (n_images + 0.6)
    height = len(lines) * (tile + LINE_INCHES) + 0.1
    figure = new_figure(height)
    shown = dict(zip(class_names, display_names(class_names, 10), strict=True))
    for line, (title, run, rows) in enumerate(lines):
        top = height - line * (tile + LINE_INCHES)
        figure.text(
            0.03, (top - 0.25) / height, f"{title}: {len(rows)} images correct in the {run} run only", fontsize=11
        )
        for column, row in enumerate(rows.head(n_images).itertuples()):
            left, side = (0.3 + column) * tile / WIDTH_INCHES, 0.92 * tile
            bottom = top - 0.4 - side
            axes = figure.add_axes((left, bottom / height, side / WIDTH_INCHES, side / height))
            axes.imshow(read_image(str(row.item_id)), interpolation="nearest")
            axes.set_axis_off()
            names = [shown[str(name)] for name in (row.label, row.first, row.second)]
            text = f"is {names[0]}\n{names[1]} → {names[2]}\n{file_name(str(row.path), 16)}".rstrip()
            figure.text(left, (bottom - 0.05) / height, text, fontsize=TEXT_POINTS, va="top", parse_math=False)
    return figure
