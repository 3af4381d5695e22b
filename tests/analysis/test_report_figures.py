import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from analysis import figures, interactive
from analysis.charts import HeatMap, Intervals, Lines, Points, Ranks, Series
from analysis.palette import BACKBONE_COLOURS, HEAD_COLOURS, colours_of, marker_of
from analysis.table import Column, Table
from analysis.tables import chart_of

NAN = math.nan
HEAD_NAMES = ("svm", "knn", "mlp")
SCORES = Series("test accuracy", (0.9, 0.8, 0.7), (0.85, 0.7, NAN), (1.2, 0.9, NAN))
CHARTS = {
    "intervals": Intervals("Which?", "test accuracy", HEAD_NAMES, HEAD_NAMES, (SCORES,)),
    "gains": Intervals("Which?", "gain", HEAD_NAMES, HEAD_NAMES, (SCORES,), zero=True),
    "groups": Intervals(
        "Whom?", "recall", HEAD_NAMES, HEAD_NAMES, (replace(SCORES, name="many"), replace(SCORES, name="few"))
    ),
    "shots": Lines("How many?", "images", "test accuracy", ("1", "2", "96"), (SCORES,), (1.0, 2.0, 96.0)),
    "tiers": Lines("How fast?", "corruption", "accuracy", ("clean", "mild", "strong"), (SCORES,)),
    "cost": Points("At what cost?", "s", "accuracy", ("svm on resnet18", "knn on resnet50", "finetune all on resnet18"),
                   (1.0, 2.0, 0.5), SCORES, (2, 0)),
    "grid": HeatMap("Both?", "test accuracy", ("resnet18", "resnet50"), HEAD_NAMES, ((0.1, 0.5, NAN), (0.2, 0.3, 0.9))),
    "ranks": Ranks("Over all?", HEAD_NAMES, (1.5, 1.8, 2.7), (("svm", "knn"),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARTS)
def test_save_writes_vector_and_pixels_with_nothing_cut_off(name, tmp_path):
    written = {path.suffix: path for path in figures.save(CHARTS[name], tmp_path, name)}
    assert set(written) == {".png", ".svg", ".pdf"}
    assert written[".pdf"].read_bytes().startswith(b"%PDF")
    assert ET.parse(written[".svg"]).getroot().tag.endswith("svg")
    with Image.open(written[".png"]) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == 902
    # Nothing is cut off: all edges are paper.
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.min() == 255


def test_save_gives_the_same_bytes_again(tmp_path):
    first, second = (
        [path.read_bytes() for path in figures.save(CHARTS["ranks"], folder, "ranks")]
        for folder in (tmp_path, tmp_path)
    )
    assert first == second


@pytest.mark.parametrize("name", CHARTS)
def test_spec_is_what_plotly_understands(name):
    drawn = interactive.spec(CHARTS[name])
    figure = go.Figure(drawn)  # refuses unknown properties
    assert len(figure.data) >= 1
    assert "NaN" not in str(drawn)


def test_spec_of_a_grid_takes_digits_for_names():
    grid = HeatMap("Which?", "share", ("1", "0"), ("1", "0"), ((0.9, 0.1), (0.0, 1.0)), "predicted", "true")
    drawn = go.Figure(interactive.spec(grid))
    assert (drawn.layout.xaxis.type, drawn.layout.yaxis.type) == ("category", "category")
    assert (drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text) == ("predicted", "true")


def test_numbers_of_a_wide_grid_fit_their_places():
    names = tuple(f"class number {i}" for i in range(20))
    figure = figures.draw(HeatMap("Which?", "share", names, names, tuple(map(tuple, np.eye(20).tolist()))))
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts[:20]]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))


def test_spec_holds_the_values_of_the_chart():
    (dots,) = interactive.spec(CHARTS["intervals"])["data"]
    assert dots["x"] == [0.9, 0.8, 0.7]
    assert dots["error_x"]["array"] == [pytest.approx(0.3), pytest.approx(0.1), None]
    assert dots["error_x"]["arrayminus"] == [pytest.approx(0.05), pytest.approx(0.1), None]
    assert dots["marker"]["color"] == [HEAD_COLOURS[name] for name in HEAD_NAMES]


def test_accuracy_axes_end_at_one():
    axes = figures.draw(CHARTS["intervals"]).axes[0]
    assert axes.get_xlim()[1] <= 1.01
    assert figures.draw(CHARTS["gains"]).axes[0].get_xlim()[1] > 1.2


def test_colours_of_keeps_heads_and_backbones_and_never_doubles():
    names = [*HEAD_COLOURS, "crt", "tau_norm"]
    colours = colours_of(names)
    assert {name: colours[name] for name in HEAD_COLOURS} == HEAD_COLOURS
    assert len(set(colours.values())) == len(names)
    assert colours_of(["resnet50"]) == {"resnet50": BACKBONE_COLOURS["resnet50"]}


def test_marker_of_tells_backbones_apart():
    assert len({marker_of(f"svm on {backbone}") for backbone in BACKBONE_COLOURS}) == len(BACKBONE_COLOURS)


def _luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("paper", ["#ffffff", "#14171c"])
def test_colours_stand_out_from_light_and_dark_paper(paper):
    for colour in [*HEAD_COLOURS.values(), *BACKBONE_COLOURS.values()]:
        lighter, darker = sorted((_luminance(colour), _luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 1.9, colour


@pytest.mark.parametrize(
    ("seconds", "scores", "front"),
    [([1, 2, 3], [0.5, 0.4, 0.6], (0, 2)), ([2, 1], [0.9, 0.9], (1,)), ([2, 1, 1], [0.9, 0.1, 0.2], (2, 0))],
)
def test_chart_of_cost_joins_what_none_beats_from_the_cheapest_on(seconds, scores, front):
    columns = (Column("head", "head"), Column("val/accuracy", "val accuracy", "score"))
    named = {name: [name] * len(scores) for name in ("head", "strategy", "backbone")}
    chart = chart_of(table("cost", columns, **named, **{"time/fit_s": seconds, "val/accuracy": scores}))
    assert chart.front == front


def table(name, columns, **values):
    return Table(name, "Question?", pd.DataFrame(values), columns)


def test_chart_of_ablation_is_a_grid():
    columns = (Column("backbone", "backbone"), Column("svm", "svm", "score"), Column("knn", "knn", "score"))
    chart = chart_of(table("ablation", columns, backbone=["resnet18", "resnet50"], svm=[0.9, 0.8], knn=[0.7, NAN]))
    assert (chart.rows, chart.columns) == (("resnet18", "resnet50"), ("svm", "knn"))
    assert chart.scores[0] == (0.9, 0.7)
    assert math.isnan(chart.scores[1][1])


def test_chart_of_few_shot_has_a_line_per_head():
    columns = (Column("shots", "images per class", "count"), Column("head", "head"))
    values = {"backbone": ["resnet18"] * 3, "shots": [1, 8, 1], "head": ["svm", "svm", "knn"]}
    chart = chart_of(table("few_shot", columns, **values, **{"test/accuracy": [0.3, 0.6, 0.2]}))
    assert chart.numbers == (1.0, 8.0)
    assert [series.name for series in chart.series] == ["svm", "knn"]
    assert chart.series[0].means == (0.3, 0.6)
    assert math.isnan(chart.series[1].means[1])


def test_chart_of_tiers_follows_their_strength():
    names = ("clean", "mild", "medium", "strong")
    columns = (Column("head", "head"), *(Column(f"robustness/{n}/accuracy", n, "score") for n in names))
    scores = {f"robustness/{n}/accuracy": [0.9 - 0.1 * i, 0.8 - 0.2 * i] for i, n in enumerate(names)}
    chart = chart_of(table("robustness_tiers", columns, head=["svm", "knn"], **scores))
    assert chart.positions == names
    assert chart.series[1].means == pytest.approx((0.8, 0.6, 0.4, 0.2))


def test_chart_of_datasets_joins_what_shares_a_letter():
    columns = (
        Column("method", "method"),
        Column("rank", "mean rank", "number"),
        Column("clique", "no significant difference"),
    )
    values = {"method": ["a", "b", "c"], "rank": [1.0, 2.0, 3.0], "clique": ["a", "ab", "b"]}
    assert chart_of(table("datasets", columns, **values)).cliques == (("a", "b"), ("b", "c"))


def test_chart_of_tuning_leaves_defaults_out():
    columns = (Column("head", "head"), Column("trials", "trials", "count"), Column("gain", "gain", "difference"))
    values = {
        "head": ["svm", "svm"],
        "trials": [0, 20],
        "gain": [NAN, 0.02],
        "gain low": [NAN, 0.01],
        "gain high": [NAN, 0.03],
    }
    chart = chart_of(table("tuning", columns, **values))
    assert chart.labels == ("20",)
    assert chart.series[0].low == (0.01,)
    assert chart.zero


def test_chart_of_one_row_is_none():
    columns = (Column("head", "head"), Column("test/accuracy", "test accuracy", "score"))
    assert chart_of(table("heads", columns, head=["svm"], **{"test/accuracy": [0.9]})) is None
