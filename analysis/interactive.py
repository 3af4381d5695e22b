"""Charts in a browser: input of plotly.js, as plain data.

Colours of text, paper and grid are left to the page, which knows whether it is light or dark.
"""

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from analysis.charts import MOST, WIDE_COLUMNS, Chart, HeatMap, Intervals, Lines, Points, Ranks, Series
from analysis.palette import GREY, colours_of, marker_of, strokes_of

Spec = dict[str, Any]
LINE_PIXELS = 26
AT_MOST_ONE: Spec = {"autorangeoptions": {"maxallowed": MOST}}
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}


def spec(chart: Chart) -> Spec:
    """Return the ``data`` and ``layout`` of a chart for ``Plotly.newPlot``; NaN becomes null."""
    drawn = _spec(chart)
    layout = {"margin": {"t": 10, "r": 10, "l": 10, "b": 10}, "hovermode": "closest", "showlegend": False}
    drawn["layout"] = layout | drawn["layout"]
    cleaned: Spec = _without_nan(drawn)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@singledispatch
def _spec(chart: Chart) -> Spec:
    raise TypeError(f"no way to draw a {type(chart).__name__}")


@_spec.register(Intervals)
def _intervals(chart: Intervals) -> Spec:
    n_series = len(chart.series)
    colours = colours_of(chart.groups if n_series == 1 else [series.name for series in chart.series])
    data = []
    for i, series in enumerate(chart.series):
        shades = [colours[group] for group in chart.groups] if n_series == 1 else colours[series.name]
        offset = (i - (n_series - 1) / 2) * 0.8 / n_series
        symbols = [marker_of(label)[1] for label in chart.labels]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": series.name, "x": series.means,
                "y": [line + offset for line in range(len(chart.labels))], "text": chart.labels,
                "marker": {"color": shades, "size": 9, "symbol": symbols},
                "error_x": _errors(series) | {"color": GREY if n_series == 1 else shades, "thickness": 1.5},
                "hovertemplate": "%{text}: %{x:.4f}",
            }
        )  # fmt: skip
    n_lines = len(chart.labels)
    ticks = {"tickvals": list(range(n_lines)), "ticktext": chart.labels, "range": [n_lines - 0.4, -0.6]}
    layout = {
        "height": 90 + LINE_PIXELS * n_lines * max(1, n_series - 1),
        "xaxis": _axis(chart.axis) | {"zeroline": chart.zero} | ({} if chart.zero else AT_MOST_ONE),
        "yaxis": _axis("") | ticks | {"zeroline": False},
        "showlegend": n_series > 1,
        "legend": LEGEND_ABOVE,
    }
    return {"data": data, "layout": layout}


def _errors(series: Series) -> Spec:
    above = [high - value for value, high in zip(series.means, series.high, strict=True)]
    below = [value - low for value, low in zip(series.means, series.low, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "width": 0}


def _axis(title: str) -> Spec:
    return {"title": {"text": title}, "automargin": True, "zeroline": False}


@_spec.register(Lines)
def _lines(chart: Lines) -> Spec:
    colours = colours_of(series.name for series in chart.series)
    strokes = strokes_of(colours)
    places: Sequence[float] = chart.numbers or tuple(float(i) for i in range(len(chart.positions)))
    data = [
        {
            "type": "scatter", "mode": "lines+markers", "name": series.name, "x": places, "y": series.means,
            "text": chart.positions, "line": {"color": colours[series.name], "dash": strokes[series.name][1]},
            "marker": {"symbol": marker_of(series.name)[1]},
            "error_y": _errors(series) | {"thickness": 1, "width": 2},
            "hovertemplate": f"{chart.x_axis} %{{text}}: %{{y:.4f}}",
        }
        for series in chart.series
    ]  # fmt: skip
    ticks = {"tickvals": places, "ticktext": chart.positions, "type": "log" if chart.numbers else "linear"}
    layout = {
        "height": 420,
        "xaxis": _axis(chart.x_axis) | ticks,
        "yaxis": _axis(chart.y_axis) | AT_MOST_ONE,
        "showlegend": True,
        "legend": LEGEND_ABOVE,
    }
    return {"data": data, "layout": layout}


@_spec.register(Points)
def _points(chart: Points) -> Spec:
    names = [label.split()[0] for label in chart.labels]
    colours, series = colours_of(names), chart.scores
    front = [(chart.costs[i], series.means[i]) for i in chart.front]
    step = {
        "type": "scatter", "mode": "lines", "x": [x for x, _ in front], "y": [y for _, y in front], "hoverinfo": "skip",
        "line": {"shape": "hv", "color": GREY, "width": 1.2}, "name": "on the Pareto front",
    }  # fmt: skip
    data: list[Spec] = [step]
    for name, colour in colours.items():
        chosen = [i for i, other in enumerate(names) if other == name]
        picked = Series(name, *(tuple(ends[i] for i in chosen) for ends in (series.means, series.low, series.high)))
        symbols = [marker_of(chart.labels[i])[1] for i in chosen]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name, "x": [chart.costs[i] for i in chosen],
                "y": picked.means, "text": [chart.labels[i] for i in chosen],
                "marker": {"color": colour, "size": 10, "symbol": symbols},
                "error_y": _errors(picked) | {"color": colour, "thickness": 1},
                "hovertemplate": "%{text}: %{y:.4f} at %{x:.3g}",
            }
        )  # fmt: skip
    layout = {
        "height": 460,
        "xaxis": _axis(f"{chart.x_axis} (left is cheaper)") | {"type": "log", "dtick": 1},
        "yaxis": _axis(chart.y_axis) | AT_MOST_ONE,
        "showlegend": True,
        "legend": LEGEND_ABOVE,
    }
    return {"data": data, "layout": layout}


@_spec.register(HeatMap)
def _heat_map(chart: HeatMap) -> Spec:
    message = "%{z:.2f}" if len(chart.columns) > WIDE_COLUMNS else "%{z:.3f}"
    data = {
        "type": "heatmap", "x": chart.columns, "y": chart.rows, "z": chart.scores, "colorscale": "Cividis",
        "texttemplate": message, "hovertemplate": "%{y}, %{x}: %{z:.4f}<extra></extra>", "hoverongaps": False,
        "colorbar": {"thickness": 10, "outlinewidth": 0},
    }  # fmt: skip
    # Names of classes may consist of digits, which plotly would treat as numbers.
    axes = {
        "xaxis": _axis(chart.x_axis) | {"type": "category"},
        "yaxis": _axis(chart.y_axis) | {"type": "category", "autorange": "reversed"},
    }
    return {"data": [data], "layout": {"height": 110 + 46 * len(chart.rows)} | axes}


@_spec.register(Ranks)
def _ranks(chart: Ranks) -> Spec:
    order = sorted(range(len(chart.names)), key=lambda i: chart.ranks[i])
    line_of = {chart.names[i]: line for line, i in enumerate(order)}
    colours = colours_of(chart.names)
    names = [chart.names[i] for i in order]
    dots = {
        "type": "scatter", "mode": "markers", "x": [chart.ranks[i] for i in order], "y": list(range(len(order))),
        "text": names, "marker": {"color": [colours[name] for name in names], "size": 11},
        "hovertemplate": "%{text}: mean rank %{x:.2f}<extra></extra>",
    }  # fmt: skip
    rank_of = dict(zip(chart.names, chart.ranks, strict=True))
    bars = [
        {
            "type": "scatter", "mode": "lines", "x": [min(ranks), max(ranks)], "hoverinfo": "skip",
            "y": [max(line_of[name] for name in clique) + 0.35 + 0.1 * bar] * 2, "line": {"color": GREY, "width": 4},
        }
        for bar, clique in enumerate(chart.cliques)
        if (ranks := [rank_of[name] for name in clique])
    ]  # fmt: skip
    lines = {"tickvals": list(range(len(order))), "ticktext": names, "range": [len(order) - 0.2, -0.6]}
    layout = {
        "height": 100 + LINE_PIXELS * len(order),
        "xaxis": _axis("mean rank (1 is best); a bar joins methods that do not differ significantly"),
        "yaxis": _axis("") | lines,
    }
    return {"data": [dots, *bars], "layout": layout}
