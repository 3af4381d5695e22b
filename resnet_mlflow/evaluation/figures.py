"""Figures that runs log: confusion matrix and learning curves; ``image_figures`` has figures with images.

All are ``matplotlib.figure.Figure`` objects on the Agg canvas, without pyplot's global state, about 900 pixels wide,
which is the width of MLflow's artifact view. Margins are computed from text sizes, because a layout engine draws
everything twice. matplotlib takes most of a second to import, so functions import it. Pillow draws the figures that
every run of a study writes: they look the same and take a fraction of the time.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_mlflow.evaluation.canvas import DPI, TITLE_GAP, Text, font_file, pixels_of, write_png, write_texts
from resnet_mlflow.evaluation.scores import confused_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

    from resnet_mlflow.training.loop import EpochResult

WIDTH_INCHES = 8.2
TEXT_POINTS = 8.0
TITLE_POINTS = 11.0
# Blue and orange of Okabe and Ito (2008), distinguishable with all common forms of colour blindness.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"
MAX_NUMBERED_CLASSES = 20
MAX_NAME_LENGTH = 18
# With more, cells would be smaller than two pixels: neighbours are then pooled.
MAX_CELLS = 300
_LINE_SPACING = 1.2  # from baseline to baseline, in sizes of the font: matplotlib's default
_DRAWING = Lock()  # by matplotlib: text is measured in two steps, by a font that threads share


class _Count(NamedTuple):
    """The text in a cell of a confusion matrix."""

    row: int
    column: int
    lines: list[str]
    points: float
    colour: str


class _Frame(NamedTuple):
    """The part of a confusion matrix that does not depend on its counts.

    Attributes:
        page: With axes, names and colour bar; black where the cells go.
        box: Left, top, right and bottom of the cells, in pixels.
        mask: Of the size of ``box``: where cells cover the page, which is not where its spines are.
    """

    page: Image.Image
    box: tuple[int, int, int, int]
    mask: Image.Image


def confusion_matrix_figure(confusion: NDArray[np.int64], class_names: Sequence[str]) -> "Figure":
    """Return the confusion matrix: counts as numbers up to 20 classes, shares of each label as colour.

    From 21 classes on, names are thinned out and the most common confusions are listed below; from 301 on, neighbouring
    classes share a cell, which shows their largest share. Colour grows with a root of the share, so that a confusion of
    1 % is visible. A row of a class without items is grey.

    Args:
        confusion: Counts, rows are labels, ``(n_classes, n_classes)``.
        class_names: ``n_classes`` names.
    """
    n_classes = len(confusion)
    names = display_names(class_names)
    listed = _list_confusions(confusion, names) if n_classes > MAX_NUMBERED_CLASSES else []
    named = range(0, n_classes, tick_step(n_classes))
    shown = [names[index] for index in named]
    # All in inches: the longest name, rotated by 90 degrees if names do not fit side by side, sets the margins.
    name_inches = max(text_inches(name) for name in shown)
    left, right, top = name_inches + 0.5, 0.95, 0.5
    side = WIDTH_INCHES - left - right
    turned = name_inches > 0.9 * side / len(shown)
    bottom = (name_inches if turned else 0.15) + 0.5
    list_inches = 0.19 * math.ceil(len(listed) / 2) + (0.4 if listed else 0)
    height = top + side + bottom + list_inches
    figure = new_figure(height)
    axes = figure.add_axes((left / WIDTH_INCHES, (bottom + list_inches) / height, side / WIDTH_INCHES, side / height))
    shares = _draw_shares(figure, axes, confusion)
    axes.set_yticks(named, shown, parse_math=False)
    axes.set_xticks(named, shown, parse_math=False, rotation=90 if turned else 0)
    axes.tick_params(length=2, labelsize=TEXT_POINTS)
    axes.set(xlabel="prediction", ylabel="label")
    axes.set_title(_title(confusion), fontsize=TITLE_POINTS, pad=TITLE_GAP)
    if n_classes <= MAX_NUMBERED_CLASSES:
        _write_counts(axes, confusion, shares)
    for i, line in enumerate(listed):
        y = (list_inches - 0.33 - 0.19 * (i // 2)) / height
        figure.text(0.03 + 0.49 * (i % 2), y, line, fontsize=TEXT_POINTS, parse_math=False)
    if listed:
        figure.text(0.03, (list_inches - 0.12) / height, "Most common confusions: label → prediction", fontsize=9)
    return figure


def write_confusion_matrix(path: Path, confusion: NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Write ``confusion_matrix_figure`` as a PNG file.

    Up to 20 classes, matplotlib draws axes and names once for all matrices of the same classes, and Pillow the rest: a
    study writes two matrices per run, and drawing everything takes several times as long. Threads may call this.

    Args:
        path: The file.
        confusion: Counts, rows are labels, ``(n_classes, n_classes)``.
        class_names: ``n_classes`` names.
    """
    if len(confusion) <= MAX_NUMBERED_CLASSES:
        page = _filled_frame(confusion, class_names)
    else:
        with _DRAWING:
            page = _page_of(confusion_matrix_figure(confusion, class_names))
    write_png(page, path)


def _filled_frame(confusion: NDArray[np.int64], class_names: Sequence[str]) -> Image.Image:
    with _DRAWING:
        frame = _drawn_frame(tuple(class_names))
    shares = _shares(confusion)
    colours, norm = _colouring(len(shares))
    cells = Image.fromarray(colours(norm(shares), bytes=True)[..., :3])
    page = frame.page.copy()
    page.paste(cells.resize(frame.mask.size, Image.Resampling.NEAREST), frame.box, frame.mask)
    write_texts(page, _matrix_texts(frame.box, confusion, shares))
    return page


@lru_cache(maxsize=2)
def _drawn_frame(class_names: tuple[str, ...]) -> _Frame:
    figure = confusion_matrix_figure(np.eye(len(class_names), dtype=np.int64), class_names)
    axes = figure.axes[0]
    for artist in (*axes.get_images(), *axes.texts, axes.title):
        artist.set_visible(False)
    page = _page_of(figure)
    edges = axes.get_window_extent()
    left, right = (math.floor(edge + 0.5) for edge in (edges.x0, edges.x1))  # as matplotlib rounds them
    top, bottom = (math.floor(page.height - edge + 0.5) for edge in (edges.y1, edges.y0))
    box = (left, top, right, bottom)
    mask = page.crop(box).convert("L")
    page.paste("black", box)  # where spines shine through
    return _Frame(page, box, mask)


def _matrix_texts(
    box: tuple[int, int, int, int], confusion: NDArray[np.int64], shares: NDArray[np.float64]
) -> Iterator[Text]:
    """Yield the title and the numbers in the cells."""
    left, top, right, bottom = box
    yield Text((left + right) / 2, top - pixels_of(TITLE_GAP), _title(confusion), TITLE_POINTS, anchor="ms")
    width, height = (right - left) / len(confusion), (bottom - top) / len(confusion)
    for count in _counts(confusion, shares):
        x, y = left + (count.column + 0.5) * width, top + (count.row + 0.5) * height
        spacing = _LINE_SPACING * pixels_of(count.points)
        for i, line in enumerate(count.lines):
            yield Text(x, y + (i - (len(count.lines) - 1) / 2) * spacing, line, count.points, count.colour, "mm")


def _page_of(figure: "Figure") -> Image.Image:
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return Image.fromarray(pixels[..., :3])


def _title(confusion: NDArray[np.int64]) -> str:
    accuracy = np.trace(confusion) / confusion.sum()
    return f"{confusion.sum():,} items, {len(confusion)} classes, accuracy {accuracy:.1%}"


def _shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return shares of each label's items; NaN for labels without items."""
    support = confusion.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(confusion, support, out=np.full(confusion.shape, np.nan), where=support > 0))


def _colouring(n_classes: int) -> "tuple[Colormap, PowerNorm]":
    """Return the colour map and the norm of shares."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    # Small cells need a steeper root than the square root for the same visibility.
    gamma = 0.5 if n_classes <= MAX_NUMBERED_CLASSES else 0.33
    return colormaps["Blues"].with_extremes(bad="#dddddd"), PowerNorm(gamma, 0, 1)


def _draw_shares(figure: "Figure", axes: "Axes", confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    n_classes, shares = len(confusion), _shares(confusion)
    colours, norm = _colouring(n_classes)
    extent = (-0.5, n_classes - 0.5, n_classes - 0.5, -0.5)
    image = axes.imshow(
        pool_largest(shares, math.ceil(n_classes / MAX_CELLS)),
        cmap=colours, norm=norm, extent=extent, interpolation="nearest", aspect="auto",
    )  # fmt: skip
    box = axes.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((box.x1 + 0.015, box.y0, 0.02, box.height)))
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0%", "1%", "5%", "20%", "50%", "100%"])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=TEXT_POINTS)
    bar.set_label("share of the true class", fontsize=TEXT_POINTS)
    return shares


def _counts(confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> Iterator[_Count]:
    n_classes = len(confusion)
    points = 12 if n_classes <= 5 else 9 if n_classes <= 10 else 7
    for row, column in np.argwhere(confusion).tolist():
        count, share = int(confusion[row, column]), shares[row, column]
        number = f"{count / 1000:.0f}k" if count >= 10_000 and n_classes > 10 else f"{count}"
        lines = [number, f"{share:.1%}"] if n_classes <= 5 else [number]
        yield _Count(row, column, lines, points, "white" if share > 0.3 else "black")  # colours are dark from there on


def _write_counts(axes: "Axes", confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column, lines, points, colour in _counts(confusion, shares):
        axes.text(column, row, "\n".join(lines), ha="center", va="center", fontsize=points, color=colour)


def _list_confusions(confusion: NDArray[np.int64], names: Sequence[str], n_pairs: int = 8) -> list[str]:
    return [
        f"{names[label]} → {names[prediction]}: {count:,} ({count / confusion[label].sum():.0%})"
        for label, prediction, count in confused_pairs(confusion, n_pairs)
    ]


def learning_curves_figure(history: "Sequence[EpochResult]") -> "Figure":
    """Return a figure of loss, validation accuracy and learning rate by epoch, with the best epoch marked.

    Args:
        history: Epochs in order, at least one. ``val_metrics`` may lack ``loss`` or ``accuracy``.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [epoch.epoch for epoch in history]
    best = next((epoch for epoch in reversed(history) if epoch.improved), None)
    figure = new_figure(3.1)
    panels = [figure.add_axes((left, 0.17, 0.245, 0.63)) for left in (0.065, 0.4, 0.745)]
    loss, accuracy, rate = panels
    loss.plot(epochs, [epoch.train_loss for epoch in history], "o-", color=BLUE, label="train", markersize=3)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        values = [epoch.val_metrics.get(name, math.nan) for epoch in history]
        axes.plot(epochs, values, "s--", color=ORANGE, label="validation", markersize=3)
    rate.plot(epochs, [epoch.learning_rate for epoch in history], "o-", color=BLUE, markersize=3)
    for axes, title in zip(panels, ("loss", "validation accuracy", "learning rate"), strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch", fontsize=TEXT_POINTS + 1)
        axes.tick_params(labelsize=TEXT_POINTS)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        # If all losses were NaN, the axis would have no epochs.
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        if best:
            axes.axvline(best.epoch, color=GREY, linewidth=1, linestyle=":")
    loss.legend(fontsize=TEXT_POINTS)
    message = "no epoch improved the validation accuracy"
    if best:
        message = f"best epoch {best.epoch}: validation accuracy {best.val_metrics.get('accuracy', math.nan):.1%}"
    figure.text(0.5, 0.93, message, ha="center", fontsize=TITLE_POINTS)
    return figure


def display_name(name: str, index: int, length: int = MAX_NAME_LENGTH, mark: str = "#") -> str:
    """Return a name for a figure: long ones without their middle, ``#index`` for names that cannot be shown.

    Names with control characters, missing glyphs, or leading or trailing spaces cannot be shown. ``display_names``
    keeps several names distinguishable.

    Example:
        >>> display_name("American Staffordshire terrier", 3), display_name("金魚", 4)
        ('American…e terrier', '#4')
    """
    if not all(map(has_glyph, name)) or not name or name != name.strip():
        return f"{mark}{index}"
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept // 2]}…{name[len(name) - (kept - kept // 2) :]}"


def display_names(names: Sequence[str], length: int = MAX_NAME_LENGTH) -> list[str]:
    """Return names for a figure that all look different.

    If a class is itself called ``#4``, numbers of names without glyphs get one more ``#``. Names that are equal after
    shortening end in their numbers.

    Example:
        >>> display_names(["#1", "金魚"]), display_names(["a" * 30, "a" * 31], 9)
        (['#1', '##1'], ['aa…aaa #0', 'aa…aaa #1'])
    """
    mark = "#"
    while any(name.startswith(mark) for name in names):
        mark += "#"
    shown = [display_name(name, index, length, mark) for index, name in enumerate(names)]
    count = Counter(shown)
    for index, name in enumerate(names):
        if count[shown[index]] > 1 and shown[index] != name:
            tag = f" {mark}{index}"
            shown[index] = display_name(name, index, max(3, length - len(tag)), mark) + tag
    return shown


def tick_step(n_classes: int, n_labels: int = 50) -> int:
    """Return the step between labelled classes, a round number, with at most ``n_labels`` labels.

    Example:
        >>> [tick_step(n) for n in (10, 100, 1000)]
        [1, 2, 20]
    """
    rounds: list[int] = [step * 10**power for power in range(6) for step in (1, 2, 5)]
    return next(step for step in rounds if math.ceil(n_classes / step) <= n_labels)


def pool_largest(matrix: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the largest value of every ``size`` x ``size`` block; NaN only if the whole block is NaN.

    Example:
        >>> pool_largest(np.arange(9.0).reshape(3, 3), 2).tolist()
        [[4.0, 5.0], [7.0, 8.0]]
    """
    starts = np.arange(0, len(matrix), size)
    return np.asarray(np.fmax.reduceat(np.fmax.reduceat(matrix, starts, axis=0), starts, axis=1))


def has_glyph(character: str) -> bool:
    """Return whether a character can be shown: not if it is for control, or the font lacks it."""
    return character.isprintable() and _font().get_char_index(ord(character)) > 0


@lru_cache(maxsize=1)
def _font() -> "FT2Font":
    from matplotlib.ft2font import FT2Font

    font = FT2Font(font_file())
    font.set_size(TEXT_POINTS, DPI)
    return font


def text_inches(text: str) -> float:
    """Return the width of a text in inches."""
    _font().set_text(text)
    return _font().get_width_height()[0] / 64 / DPI


def new_figure(height_inches: float) -> "Figure":
    """Return an empty figure of the common width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure
