"""Properties of the long-tail figures that a reader would miss: sizes, texts cut off or overlapping, colours."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from resnet_mlflow.evaluation.figures import BLUE, GREY, ORANGE
from resnet_mlflow.longtail.figures import class_accuracy_figure, class_counts_figure, group_bars_figure
from resnet_mlflow.longtail.groups import group_classes
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.profiles import long_tail_counts
from resnet_mlflow.longtail.table import MethodRun

CLASSES = (2, 10, 100, 1000)


def names_of(n_classes: int) -> list[str]:
    return [f"a rather long class name {index}" for index in range(n_classes)]


def make_runs(methods: list[str], n_classes: int, seeds: tuple[int, ...] = (0, 1)) -> list[MethodRun]:
    rng = np.random.default_rng(0)
    counts = np.array(long_tail_counts(500, n_classes, 100))
    labels = np.repeat(np.arange(n_classes), 10)
    items = np.arange(len(labels)).astype(str)
    runs = []
    for place, (method, seed) in enumerate(itertools.product(methods, seeds)):
        predictions = np.where(rng.random(len(labels)) < 0.7, labels, (labels + 1) % n_classes)
        scores = {"test/accuracy_many": 0.8, "test/accuracy_medium": 0.3 + 0.1 * seed}
        metrics = {"val/balanced_accuracy": 1 / (1 + place)} | scores
        runs.append(MethodRun(method, seed, metrics, counts, labels, predictions, items, "run"))
    return runs


def assert_legible(figure: Figure) -> None:
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    assert width == 902
    assert 200 < height < 1300
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (a, first), (b, second) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        shared = Bbox.intersection(first, second)
        assert shared is None or min(shared.width, shared.height) <= 1, (a.get_text(), b.get_text())


@pytest.mark.parametrize("n_classes", CLASSES)
def test_class_counts_figure_is_legible(n_classes: int) -> None:
    counts = np.array(long_tail_counts(5000, n_classes, 100))
    figure = class_counts_figure(counts, names_of(n_classes), group_classes(counts))
    assert_legible(figure)
    assert figure.axes[0].get_yscale() == "log"
    assert len(figure.axes[0].patches) == n_classes
    assert f"{counts.sum():,} training images" in figure.axes[0].get_title()


def test_class_counts_figure_orders_by_size_and_colours_by_group() -> None:
    counts = np.array([19, 500, 100])
    figure = class_counts_figure(counts, ["few", "many", "medium"], group_classes(counts))
    axes = figure.axes[0]
    bars = sorted(axes.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == [500, 100, 19]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["many", "medium", "few"]
    assert to_hex(bars[0].get_facecolor()) == BLUE
    assert to_hex(bars[2].get_facecolor()) == ORANGE


def test_class_counts_figure_legend_has_the_colour_of_an_empty_group() -> None:
    counts = np.array([500, 400])
    legend = class_counts_figure(counts, ["a", "b"], group_classes(counts)).axes[0].get_legend()
    message = {text.get_text(): patch for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
    assert to_hex(message["few (0 classes)"].get_facecolor()) == ORANGE


@pytest.mark.parametrize("n_classes", CLASSES)
@pytest.mark.parametrize("methods", [["none"], ["none", "crt"], list(METHODS)], ids=len)
def test_class_accuracy_figure_is_legible(n_classes: int, methods: list[str]) -> None:
    figure = class_accuracy_figure(make_runs(methods, n_classes), names_of(n_classes))
    assert_legible(figure)
    assert len(figure.axes) == max(1, len(methods) - 1)


def test_class_accuracy_figure_shows_means_over_seeds_beside_none() -> None:
    runs = make_runs(["none", "crt"], 3)
    (axes,) = class_accuracy_figure(runs, ["a", "b", "c"]).axes
    lines = {to_hex(line.get_color()): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines[BLUE], np.mean([run.recalls for run in runs if run.method == "crt"], axis=0))
    np.testing.assert_allclose(lines[GREY], np.mean([run.recalls for run in runs if run.method == "none"], axis=0))


@pytest.mark.parametrize("methods", [["none"], list(METHODS)], ids=len)
def test_group_bars_figure_is_legible_and_ordered_by_validation(methods: list[str]) -> None:
    figure = group_bars_figure(make_runs(methods, 4), {"many": 3, "medium": 1, "few": 0})
    assert_legible(figure)
    first, second, empty = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == methods
    assert [bar.get_width() for bar in first.patches] == [0.8] * len(methods)
    assert second.patches[0].get_width() == pytest.approx(0.35)
    assert not empty.patches
    assert empty.texts[0].get_text() == "no classes"
