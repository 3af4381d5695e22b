"""Figures of a long-tail comparison: class sizes, accuracy by class from head to tail, groups side by side.

Made like those in ``figures``: without pyplot, about 900 pixels wide, with matplotlib imported inside functions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.evaluation.figures import (
    BLUE,
    GREY,
    ORANGE,
    TEXT_POINTS,
    WIDTH_INCHES,
    display_names,
    new_figure,
    text_inches,
    tick_step,
)
from resnet_mlflow.longtail.table import BASELINE, MethodRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP_COLOURS = {"many": BLUE, "medium": "#009e73", "few": ORANGE}
COLUMNS = 4
MAX_NAMED_CLASSES = 30
# From this number on, single classes are too noisy: curves show means over classes of neighbouring sizes.
MAX_SHOWN_CLASSES = 120


def class_counts_figure(
    train_counts: NDArray[np.int64], class_names: Sequence[str], groups: Mapping[str, NDArray[np.int64]]
) -> "Figure":
    """Return a figure of training images per class on a logarithmic axis, largest class first, coloured by group.

    Args:
        train_counts: Training images per class, at least 1, ``(n_classes,)``.
        class_names: ``n_classes`` names.
        groups: Classes in the groups many, medium and few; a group may be empty.
    """
    from matplotlib.patches import Patch

    order = by_size(train_counts)
    names, bottom = _class_labels([class_names[label] for label in order])
    height = bottom + 3.2
    figure = new_figure(height)
    axes = figure.add_axes((0.09, bottom / height, 0.89, (height - bottom - 0.45) / height))
    position = np.argsort(order)
    for name, labels in groups.items():
        axes.bar(position[labels], train_counts[labels], color=GROUP_COLOURS[name], width=0.8)
    axes.set_yscale("log")
    highest = float(train_counts.max()) * (3 if len(order) <= MAX_NAMED_CLASSES else 1.5)
    axes.set_ylim(0.7, highest)
    axes.set_yticks([10**power for power in range(9) if 10**power < highest])
    axes.set_xlim(-0.7, len(order) - 0.3)
    axes.set_ylabel("training images", fontsize=TEXT_POINTS + 1)
    _name_classes(axes, names)
    if len(order) <= MAX_NAMED_CLASSES:
        for x, count in enumerate(train_counts[order]):
            axes.text(x, count * 1.12, f"{count:,}", ha="center", fontsize=TEXT_POINTS - 1)
    handles = [
        Patch(color=GROUP_COLOURS[name], label=f"{name} ({len(labels)} classes)") for name, labels in groups.items()
    ]
    axes.legend(handles=handles, fontsize=TEXT_POINTS, loc="upper right")
    factor = train_counts.max() / train_counts.min()
    title = f"{train_counts.sum():,} training images, {len(order)} classes, largest / smallest {factor:.4g}"
    axes.set_title(title, fontsize=11)
    return figure


def class_accuracy_figure(runs: Sequence[MethodRun], class_names: Sequence[str]) -> "Figure":
    """Return a figure, one panel per method: test accuracy by class from largest to smallest, next to ``none``.

    Lines are means over seeds. Classes are named if every seed has the same order of sizes.

    Args:
        runs: Runs of all methods, including ``none``.
        class_names: One name per class.
    """
    curves = _mean_curves(runs)
    methods = [method for method in curves if method != BASELINE] or [BASELINE]
    n_classes = len(class_names)
    orders = {tuple(by_size(run.train_counts)) for run in runs}
    same = len(orders) == 1 and n_classes <= MAX_NAMED_CLASSES
    shown = [class_names[label] for label in next(iter(orders))] if same else [str(i) for i in range(n_classes)]
    names, bottom = _class_labels(shown, n_labels=20 if same else 5)
    n_lines, top, panel, gap = math.ceil(len(methods) / COLUMNS), 0.62, 1.25, 0.3
    height = top + n_lines * (panel + gap) - gap + bottom + 0.1
    figure = new_figure(height)
    left, width = 0.06, 0.215
    for i, method in enumerate(methods):
        line, column = divmod(i, COLUMNS)
        y = height - top - (line + 1) * panel - line * gap
        axes = figure.add_axes((left + column * (width + 0.022), y / height, width, panel / height))
        for name, colour in ((BASELINE, GREY), (method, BLUE)):
            if name in curves:
                axes.plot(_smoothed(curves[name]), color=colour, linewidth=1.4, label=name)
        _frame_panel(axes, method, n_classes, first=column == 0)
        is_lowest = i + COLUMNS >= len(methods)
        _name_classes(axes, names if is_lowest else [""] * n_classes)
    by = "class" if n_classes <= MAX_SHOWN_CLASSES else "class (mean of neighbours)"
    message = f"Test accuracy by {by}, largest on the left: the method (blue), {BASELINE} (grey)"
    figure.text(left, 1 - 0.22 / height, message, fontsize=11)
    return figure


def group_bars_figure(runs: Sequence[MethodRun], group_sizes: Mapping[str, int]) -> "Figure":
    """Return bars of the groups' accuracies, one line per method, best balanced validation accuracy first.

    Args:
        runs: Runs of all methods, including ``none``.
        group_sizes: Number of classes in the groups many, medium and few.
    """
    methods = _by_validation(runs)
    left = max(text_inches(method) for method in methods) * 1.15 + 0.25
    top, bottom, height = 0.72, 0.38, 0.72 + 0.38 + 0.27 * max(3, len(methods))
    figure = new_figure(height)
    width = (WIDTH_INCHES - left - 0.25) / len(group_sizes)
    for i, (group, size) in enumerate(group_sizes.items()):
        box = ((left + i * width) / WIDTH_INCHES, bottom / height, (width - 0.2) / WIDTH_INCHES)
        axes = figure.add_axes((*box, (height - top - bottom) / height))
        _draw_group(axes, runs, methods, group, size)
        axes.set_yticks(range(len(methods)), methods if i == 0 else [""] * len(methods), parse_math=False)
        axes.set_title(f"{group} ({size} classes)", fontsize=10)
    message = f"Test accuracy by group, mean ± standard deviation over seeds; dotted: {BASELINE}"
    figure.text(0.02, 1 - 0.24 / height, message, fontsize=11)
    return figure


def _draw_group(axes: "Axes", runs: Sequence[MethodRun], methods: Sequence[str], group: str, size: int) -> None:
    axes.set(xlim=(0, 1), ylim=(len(methods) - 0.4, -0.6))
    # Without the label 100 %, which would touch the next panel's 0.
    axes.set_xticks([0, 0.25, 0.5, 0.75], ["0", "25%", "50%", "75%"])
    axes.tick_params(labelsize=TEXT_POINTS, length=2)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if not size:
        axes.text(0.5, (len(methods) - 1) / 2, "no classes", ha="center", va="center", color=GREY)
        return
    values = {
        method: [run.metrics.get(f"test/accuracy_{group}", math.nan) for run in runs if run.method == method]
        for method in methods
    }
    for y, method in enumerate(methods):
        spread = float(np.std(values[method], ddof=1)) if len(values[method]) > 1 else 0.0
        colour = GREY if method == BASELINE else GROUP_COLOURS[group]
        error = {"elinewidth": 1, "ecolor": "black"}
        axes.barh(y, float(np.mean(values[method])), xerr=spread or None, height=0.7, color=colour, error_kw=error)
    if BASELINE in values:
        axes.axvline(float(np.mean(values[BASELINE])), color="black", linestyle=":", linewidth=1)


def by_size(train_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes from the largest to the smallest; ties keep their order."""
    return np.argsort(-train_counts, kind="stable")


def _by_validation(runs: Sequence[MethodRun]) -> list[str]:
    scores: dict[str, list[float]] = {}
    for run in runs:
        scores.setdefault(run.method, []).append(run.metrics["val/balanced_accuracy"])
    return sorted(scores, key=lambda method: -float(np.mean(scores[method])))


def _mean_curves(runs: Sequence[MethodRun]) -> dict[str, NDArray[np.float64]]:
    curves: dict[str, list[NDArray[np.float64]]] = {}
    for run in runs:
        curves.setdefault(run.method, []).append(run.recalls[by_size(run.train_counts)])
    return {method: np.mean(own, axis=0) for method, own in curves.items()}


def _smoothed(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve or, for many classes, its mean over a window that is shorter at the ends."""
    if len(curve) <= MAX_SHOWN_CLASSES:
        return curve
    half = len(curve) // 40
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    low, high = (np.clip(np.arange(len(curve)) + shift, 0, len(curve)) for shift in (-half, half + 1))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _frame_panel(axes: "Axes", method: str, n_classes: int, *, first: bool) -> None:
    axes.set(ylim=(0, 1), xlim=(-0.5, n_classes - 0.5))
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"] if first else ["", "", ""])
    axes.tick_params(labelsize=TEXT_POINTS - 1, length=2)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(method, fontsize=TEXT_POINTS + 1, pad=3, parse_math=False)


def _class_labels(class_names: Sequence[str], n_labels: int = 20) -> tuple[list[str], float]:
    """Return names for a class axis, empty where thinned out, and the inches that they need below it."""
    step = 1 if len(class_names) <= MAX_NAMED_CLASSES else tick_step(len(class_names), n_labels)
    names = [name if i % step == 0 else "" for i, name in enumerate(display_names(class_names, 14))]
    return names, 0.2 + max(text_inches(name) for name in names if name)


def _name_classes(axes: "Axes", names: Sequence[str]) -> None:
    marked = [i for i, name in enumerate(names) if name]
    axes.set_xticks(marked, [names[i] for i in marked], rotation=90, fontsize=TEXT_POINTS - 1, parse_math=False)
    axes.tick_params(axis="x", length=2)
