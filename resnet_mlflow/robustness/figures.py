"""Figures of a robustness test: accuracy by severity, a heat map of all cells, tiers side by side, and example images.

Made like those in ``figures``: without pyplot, about 900 pixels wide, with matplotlib imported inside functions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.evaluation.canvas import DPI
from resnet_mlflow.evaluation.figures import (
    BLUE,
    GREY,
    ORANGE,
    TEXT_POINTS,
    WIDTH_INCHES,
    display_names,
    new_figure,
    text_inches,
)
from resnet_mlflow.evaluation.image_figures import file_name
from resnet_mlflow.robustness.corruption import SEVERITIES
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.summary import TriedClassifier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito (2008), distinguishable with all common forms of colour blindness.
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
COLUMNS = 5
PICTURES_PER_LINE = 8


def severity_curves_figure(tried: Sequence[TriedClassifier]) -> "Figure":
    """Return a figure, one panel per corruption: accuracy by severity with its 95 % interval, clean accuracy at 0.

    Args:
        tried: Up to six classifiers, tested on the same cells.
    """
    names = list(dict.fromkeys(cell.corruption for cell in tried[0].cells))
    n_lines = math.ceil(len(names) / COLUMNS)
    top, panel, gap, bottom = (0.45 if len(tried) == 1 else 0.7), 1.15, 0.3, 0.42
    height = top + n_lines * (panel + gap) - gap + bottom
    figure = new_figure(height)
    left, width = 0.055, 0.172
    for i, name in enumerate(names):
        line, column = divmod(i, COLUMNS)
        y = height - top - (line + 1) * panel - line * gap
        axes = figure.add_axes((left + column * (width + 0.018), y / height, width, panel / height))
        for one, colour in zip(tried, COLOURS, strict=False):
            _draw_curve(axes, one, name, colour)
        _frame_panel(axes, name, first=column == 0, lowest=i + COLUMNS >= len(names))
    title = f"{tried[0].name}: accuracy" if len(tried) == 1 else "Accuracy"
    message = f"{title} by severity (0: clean), with 95 % intervals over {len(tried[0].labels):,} images"
    figure.text(left, 1 - 0.2 / height, message, fontsize=10, va="center", parse_math=False)
    if len(tried) > 1:
        handles = figure.axes[0].get_lines()[: len(tried)]
        labels = display_names([one.name for one in tried], 26)
        figure.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(left - 0.01, 1 - 0.24 / height), ncols=len(tried),
            fontsize=TEXT_POINTS, frameon=False, borderaxespad=0, columnspacing=1.2, handlelength=1.5,
        )  # fmt: skip
    return figure


def _draw_curve(axes: "Axes", one: TriedClassifier, corruption: str, colour: str) -> None:
    cells = [CLEAN, *(cell for cell in one.cells if cell.corruption == corruption)]
    xs, ys = [cell.severity for cell in cells], [one.accuracy(cell) for cell in cells]
    low, high = zip(*(one.interval(cell) for cell in cells), strict=True)
    axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(xs, ys, "o-", color=colour, markersize=2.5, linewidth=1.2)


def _frame_panel(axes: "Axes", name: str, *, first: bool, lowest: bool) -> None:
    axes.set(ylim=(0, 1), xlim=(-0.3, SEVERITIES[-1] + 0.3))
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"] if first else ["", "", ""])
    axes.set_xticks(range(6), [str(severity) for severity in range(6)] if lowest else [""] * 6)
    axes.tick_params(labelsize=TEXT_POINTS - 1, length=2)
    axes.grid(alpha=0.3)
    axes.set_title(name.replace("_", " "), fontsize=TEXT_POINTS + 1, pad=3)
    if lowest:
        axes.set_xlabel("severity", fontsize=TEXT_POINTS, labelpad=1)


def heat_map_figure(one: TriedClassifier) -> "Figure":
    """Return a heat map of accuracy by corruption and severity, with numbers."""
    from matplotlib import colormaps

    names = list(dict.fromkeys(cell.corruption for cell in one.cells))
    severities = sorted({cell.severity for cell in one.cells})
    values = np.full((len(names), len(severities)), np.nan)
    for cell in one.cells:
        values[names.index(cell.corruption), severities.index(cell.severity)] = one.accuracy(cell)
    shown = [name.replace("_", " ") for name in names]
    left, right, top, bottom = max(map(text_inches, shown)) + 0.25, 0.9, 0.45, 0.45
    height = top + 0.26 * max(4, len(names)) + bottom
    # Three columns across the full page would be mostly colour.
    width = min(WIDTH_INCHES - left - right, 1.6 * len(severities))
    figure = new_figure(height)
    axes = figure.add_axes(
        (left / WIDTH_INCHES, bottom / height, width / WIDTH_INCHES, (height - top - bottom) / height)
    )
    colours = colormaps["viridis"].with_extremes(bad="#dddddd")
    image = axes.imshow(values, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.1%}", ha="center", va="center", fontsize=TEXT_POINTS, color=colour)
    axes.set_yticks(range(len(names)), shown, fontsize=TEXT_POINTS)
    axes.set_xticks(range(len(severities)), map(str, severities), fontsize=TEXT_POINTS)
    axes.tick_params(length=2)
    axes.set_xlabel("severity", fontsize=TEXT_POINTS + 1)
    box = axes.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((box.x1 + 0.015, box.y0, 0.02, box.height)))
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0%", "25%", "50%", "75%", "100%"])
    bar.ax.tick_params(labelsize=TEXT_POINTS)
    title = f"{one.name}: accuracy, clean {one.accuracy(CLEAN):.1%}"
    figure.text(0.02, 1 - 0.2 / height, title, fontsize=10, va="center", parse_math=False)
    return figure


def tier_bars_figure(tried: Sequence[tuple[TriedClassifier, Mapping[str, float]]]) -> "Figure":
    """Return bars of accuracy per tier, one line per classifier, with 95 % intervals over images.

    Args:
        tried: Classifiers with their plain metrics; each seed has its own bar.
    """
    parts = [part for part in ("clean", *tried[0][0].tiers, "mean") if f"robustness/{part}/accuracy" in tried[0][1]]
    names = display_names([_with_seed(one, tried) for one, _ in tried], 37)
    left = max(text_inches(name) for name in names) * 1.1 + 0.2
    top, bottom = 0.55, 0.3
    height = top + bottom + 0.27 * max(3, len(tried))
    figure = new_figure(height)
    width = (WIDTH_INCHES - left - 0.1) / len(parts)
    for i, part in enumerate(parts):
        box = ((left + i * width) / WIDTH_INCHES, bottom / height, (width - 0.14) / WIDTH_INCHES)
        axes = figure.add_axes((*box, (height - top - bottom) / height))
        for y, (_, metrics) in enumerate(tried):
            value, low, high = (metrics[f"robustness/{part}/accuracy{end}"] for end in ("", "_ci_low", "_ci_high"))
            axes.barh(y, value, height=0.7, color=GREY if part == "clean" else BLUE)
            axes.plot([low, high], [y, y], color="black", linewidth=1)
            # Next to a short bar, inside a long one.
            x, colour = (0.03, "white") if value > 0.6 else (high + 0.03, "black")
            axes.text(x, y, f"{value:.1%}", va="center", fontsize=TEXT_POINTS - 1, color=colour)
        axes.set(xlim=(0, 1), ylim=(len(tried) - 0.4, -0.6))
        axes.set_yticks(range(len(tried)), names if i == 0 else [""] * len(tried), parse_math=False)
        # Without the label 100 %, which would touch the next panel's 0.
        axes.set_xticks([0, 0.25, 0.5, 0.75], ["0", "", "50%", ""])
        axes.tick_params(labelsize=TEXT_POINTS, length=2)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        severity = tried[0][0].tiers.get(part)
        axes.set_title(part if severity is None else f"{part} (severity {severity})", fontsize=TEXT_POINTS, pad=3)
    message = f"Accuracy under corruption, with 95 % intervals over {len(tried[0][0].labels):,} images"
    figure.text(0.02, 1 - 0.16 / height, message, fontsize=10, va="center")
    return figure


def _with_seed(one: TriedClassifier, tried: Sequence[tuple[TriedClassifier, object]]) -> str:
    alike = sum(other.name == one.name for other, _ in tried)
    return one.name + (f" s{one.seed}" if alike > 1 else "")


def picture_grid_figure(
    clean: NDArray[np.uint8],
    cells: Sequence[CorruptedSet],
    tiers: Mapping[str, int],
    corrupted: Callable[[CorruptedSet], NDArray[np.uint8]],
    path: str = "",
) -> "Figure":
    """Return a figure of one image under every corruption (columns) and tier (rows); missing cells stay empty.

    Args:
        clean: The image, ``(height, width, 3)`` uint8.
        cells: The cells tested.
        tiers: Severity of each tier.
        corrupted: Returns the image of a cell.
        path: The image's file; empty if it is not a file.
    """
    names = list(dict.fromkeys(cell.corruption for cell in cells))
    blocks = [names[at : at + PICTURES_PER_LINE] for at in range(0, len(names), PICTURES_PER_LINE)]
    margin, label, gap = 0.1, 0.55, 0.27
    tile = (WIDTH_INCHES - 2 * margin - label) / PICTURES_PER_LINE
    block_height = len(tiers) * tile + gap
    top = 0.3 + tile + 0.1
    height = top + len(blocks) * block_height + margin
    figure = new_figure(height)
    # In inches, counted from the top left; one Axes per picture would be slow.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH_INCHES), ylim=(height, 0))
    axes.set_axis_off()
    what = f"One test image ({file_name(path, 40)})" if path else "One test image"
    message = f"{what}, clean and under every corruption"
    axes.text(margin, 0.17, message, fontsize=10, va="center", parse_math=False)
    axes.text(margin, 0.3 + tile / 2, "clean", fontsize=TEXT_POINTS, va="center")
    _draw_picture(axes, clean, margin + label, 0.3, tile)
    for i, block in enumerate(blocks):
        y = top + i * block_height
        for column, name in enumerate(block):
            x = margin + label + column * tile
            text = name.replace("_", " ").replace(" transform", "").replace(" compression", "")
            axes.text(x + tile / 2, y + 0.17, text, ha="center", va="center", fontsize=TEXT_POINTS - 1)
            for row, severity in enumerate(tiers.values()):
                if CorruptedSet(name, severity) in cells:
                    _draw_picture(axes, corrupted(CorruptedSet(name, severity)), x, y + gap + row * tile, tile)
        for row, tier in enumerate(tiers):
            axes.text(margin, y + gap + (row + 0.5) * tile, tier, fontsize=TEXT_POINTS, va="center")
    return figure


def _draw_picture(axes: "Axes", image: NDArray[np.uint8], x: float, y: float, tile: float) -> None:
    longer, side = max(image.shape[:2]), tile * 0.96
    h, w = (side * pixels / longer for pixels in image.shape[:2])
    smoothing = "nearest" if longer <= DPI else "antialiased"
    axes.imshow(image, extent=(x, x + w, y + h, y), interpolation=smoothing, aspect="auto")
