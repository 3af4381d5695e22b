"""Charts on paper, drawn with matplotlib: SVG and PDF for print, PNG for everything else.

Text is at least 8 points at a width of 8.2 inches, so that it is readable when a figure fills a column of a page.
"""

import io
import math
import textwrap
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.charts import MOST, WIDE_COLUMNS, Chart, HeatMap, Intervals, Lines, Points, Ranks, Series
from analysis.palette import GREY, colours_of, marker_of, strokes_of
from resnet_mlflow.evaluation.figures import TEXT_POINTS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
LINE_INCHES = 0.24
TITLE_WIDTH = 95
LEGEND_WIDTH = 125
NAME_CHARACTERS = 70  # of all columns of a grid, side by side


def draw(chart: Chart) -> "Figure":
    """Return a chart as a figure."""
    return _draw(chart)


def png(chart: Chart) -> bytes:
    """Return a chart as the contents of a PNG file, for notebooks."""
    buffer = io.BytesIO()
    draw(chart).savefig(buffer)
    return buffer.getvalue()


def save(chart: Chart, folder: Path, name: str) -> list[Path]:
    """Write a chart as PNG, SVG and PDF, and return the files; equal charts give equal bytes."""
    import matplotlib

    figure = draw(chart)
    paths = [folder / f"{name}.{ending}" for ending in FORMATS]
    with matplotlib.rc_context({"svg.hashsalt": name, "pdf.fonttype": 42}):
        for path in paths:
            # With dates, equal figures would differ.
            dated = {"svg": {"Date": None, "Title": chart.title}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
            figure.savefig(path, metadata=dated)
    return paths


@singledispatch
def _draw(chart: Chart) -> "Figure":
    raise TypeError(f"no way to draw a {type(chart).__name__}")


@_draw.register(Intervals)
def _intervals(chart: Intervals) -> "Figure":
    n_series, n_lines = len(chart.series), len(chart.labels)
    step = LINE_INCHES * max(1, 0.75 * n_series)
    figure, axes = _axes(chart.title, 1.3 + step * n_lines)
    colours = colours_of(chart.groups if n_series == 1 else [series.name for series in chart.series])
    lines = np.arange(n_lines)
    for i, series in enumerate(chart.series):
        offsets = lines + (i - (n_series - 1) / 2) * 0.8 / n_series
        shades = [colours[group] for group in chart.groups] if n_series == 1 else [colours[series.name]] * n_lines
        markers = [marker_of(label)[0] for label in chart.labels]
        for y, value, low, high, shade, marker in zip(
            offsets, series.means, series.low, series.high, shades, markers, strict=True
        ):
            axes.plot([low, high], [y, y], "-", color=shade, linewidth=2)
            axes.plot([value], [y], marker, color=shade, markersize=6)
        axes.plot([], [], "o-", color=colours[series.name] if n_series > 1 else GREY, label=series.name)
    if not chart.zero:
        axes.set_xlim(right=min(axes.get_xlim()[1], MOST))
    else:
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(lines, chart.labels, parse_math=False)
    axes.set(xlabel=chart.axis, ylim=(n_lines - 0.4, -0.6))
    axes.grid(axis="x", alpha=0.3)
    if n_series > 1:
        _legend(figure, n_series)
    return figure


@_draw.register(Lines)
def _lines(chart: Lines) -> "Figure":
    figure, axes = _axes(chart.title, 4.4)
    colours = colours_of(series.name for series in chart.series)
    strokes = strokes_of(colours)
    places = np.array(chart.numbers or range(len(chart.positions)), dtype=float)
    for series in chart.series:
        colour, marker, stroke = colours[series.name], marker_of(series.name)[0], strokes[series.name][0]
        axes.plot(places, series.means, linestyle=stroke, marker=marker, color=colour, label=series.name, markersize=5)
        axes.fill_between(places, *_band(series), color=colour, alpha=0.18, linewidth=0)
    if chart.numbers:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(places, chart.positions)
    axes.set(xlabel=chart.x_axis, ylabel=chart.y_axis)
    axes.grid(alpha=0.3)
    _legend(figure, len(chart.series))
    return figure


def _band(series: Series) -> tuple[list[float], list[float]]:
    """Return the ends of the intervals; without an interval, the band has no width."""
    ends = zip(series.means, series.low, series.high, strict=True)
    pairs = [(value, value) if math.isnan(low) else (low, high) for value, low, high in ends]
    return [low for low, _ in pairs], [high for _, high in pairs]


@_draw.register(Points)
def _points(chart: Points) -> "Figure":
    figure, axes = _axes(chart.title, 4.8)
    names = [label.split()[0] for label in chart.labels]
    colours, scores = colours_of(names), chart.scores
    axes.set_xscale("log")
    steps = [(chart.costs[i], scores.means[i]) for i in chart.front]
    axes.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=1.2, zorder=1)
    for i, (name, label) in enumerate(zip(names, chart.labels, strict=True)):
        x, y, colour = chart.costs[i], scores.means[i], colours[name]
        axes.plot([x, x], [scores.low[i], scores.high[i]], color=colour, linewidth=1, alpha=0.6)
        edge = "black" if i in chart.front else "none"
        axes.plot([x], [y], marker_of(label)[0], color=colour, markersize=7, markeredgecolor=edge)
    for number, i in enumerate(chart.front, start=1):
        place = (chart.costs[i], scores.means[i])
        axes.annotate(str(number), place, (0, 8), textcoords="offset points", ha="center", fontsize=TEXT_POINTS)
    for name, colour in colours.items():
        axes.plot([], [], "o", color=colour, label=name)
    backbones = dict.fromkeys(label.split()[-1] for label in chart.labels)
    for backbone in backbones:
        axes.plot([], [], marker_of(backbone)[0], color=GREY, label=backbone)
    message = ", ".join(f"{number} {chart.labels[i]}" for number, i in enumerate(chart.front, start=1))
    beaten = textwrap.fill(f"No other is both cheaper and better: {message}", TITLE_WIDTH)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.03))
    axes.set_xlabel(f"{chart.x_axis} (logarithmic; left is cheaper)\n{beaten}")
    axes.set(ylabel=chart.y_axis)
    axes.grid(alpha=0.3)
    _legend(figure, len(colours) + len(backbones))
    return figure


@_draw.register(HeatMap)
def _heat_map(chart: HeatMap) -> "Figure":
    figure, axes = _axes(chart.title, 1.6 + 0.42 * len(chart.rows))
    values = np.array(chart.scores, dtype=float)
    many = len(chart.columns) > WIDE_COLUMNS
    image = axes.imshow(values, cmap="cividis", aspect="auto")
    low, high = np.nanmin(values), np.nanmax(values)
    for (row, column), value in np.ndenumerate(values):
        message = "-" if math.isnan(value) else f"{value:.2f}" if many else f"{value:.3f}"
        # The lower part of cividis is dark.
        dark = not math.isnan(value) and value < low + 0.55 * (high - low)
        colour, size = "white" if dark else "black", 6 if many else 9
        axes.text(column, row, message, ha="center", va="center", color=colour, fontsize=size)
    turned = sum(map(len, chart.columns)) > NAME_CHARACTERS
    axes.set_xticks(range(len(chart.columns)), chart.columns, rotation=90 if turned else 0, parse_math=False)
    axes.set_yticks(range(len(chart.rows)), chart.rows, parse_math=False)
    axes.set(xlabel=chart.x_axis, ylabel=chart.y_axis)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(chart.axis, fontsize=TEXT_POINTS + 1)
    bar.ax.tick_params(labelsize=TEXT_POINTS)
    return figure


@_draw.register(Ranks)
def _ranks(chart: Ranks) -> "Figure":
    """Draw the diagram of Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets."""
    order = sorted(range(len(chart.names)), key=lambda i: chart.ranks[i])
    half, n_bars = math.ceil(len(order) / 2), len(chart.cliques)
    depth = 0.6 + 0.35 * n_bars + 0.55 * half
    figure, axes = _axes(chart.title, 0.9 + 0.45 * depth)
    n = len(order)
    span = max(n - 1, 1)
    axes.set(xlim=(1 - 0.32 * span, n + 0.32 * span), ylim=(depth, -0.8))
    axes.set_axis_off()
    axes.plot([1, n], [0, 0], color="black", linewidth=1)
    for rank in range(1, n + 1):
        axes.plot([rank, rank], [-0.15, 0], color="black", linewidth=1)
        axes.text(rank, -0.3, str(rank), ha="center", fontsize=9)
    colours = colours_of(chart.names)
    for place, i in enumerate(order):
        left = place < half
        y = 0.6 + 0.35 * n_bars + 0.55 * (place if left else n - 1 - place)
        edge, side = (1 - 0.05 * span, "right") if left else (n + 0.05 * span, "left")
        axes.plot([chart.ranks[i], chart.ranks[i], edge], [0, y, y], color=colours[chart.names[i]], linewidth=1.4)
        message = f"{chart.names[i]}  {chart.ranks[i]:.2f}" if left else f"{chart.ranks[i]:.2f}  {chart.names[i]}"
        axes.text(edge, y, f" {message} ", ha=side, va="center", fontsize=9, parse_math=False)
    rank_of = dict(zip(chart.names, chart.ranks, strict=True))
    for bar, names in enumerate(chart.cliques):
        ranks = [rank_of[name] for name in names]
        y = 0.35 + 0.35 * bar
        axes.plot([min(ranks) - 0.03, max(ranks) + 0.03], [y, y], color="black", linewidth=4, solid_capstyle="butt")
    return figure


def _axes(title: str, height_inches: float) -> tuple["Figure", "Axes"]:
    lines = textwrap.wrap(title, TITLE_WIDTH)
    figure = new_figure(height_inches + 0.2 * len(lines))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    figure.suptitle("\n".join(lines), fontsize=11, x=0.01, ha="left", parse_math=False)
    axes.tick_params(labelsize=TEXT_POINTS + 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: "Figure", n_entries: int) -> None:
    names = [name for axes in figure.axes for name in axes.get_legend_handles_labels()[1]]
    # As many columns as fit into the figure's width.
    n_columns = max(1, LEGEND_WIDTH // (max(map(len, names), default=0) + 5))
    figure.legend(
        loc="outside lower center",
        ncols=min(n_entries, n_columns),
        columnspacing=1.2,
        handletextpad=0.4,
        fontsize=TEXT_POINTS + 1,
        frameon=False,
    )
