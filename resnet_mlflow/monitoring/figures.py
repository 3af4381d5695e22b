"""Figures of changes: each measure of the batch over that of the reference."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.evaluation.figures import BLUE, ORANGE, display_names
from resnet_mlflow.monitoring.changes import CLASSES, CONFIDENCE, FEATURES, Change, Pool
from resnet_mlflow.monitoring.observed import PICTURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.floating[Any]]

_INCHES = 4.6, 2.5
_MOST_CLASSES = 10
_N_BINS = 30
_AXES = {
    FEATURES: "witness function: like the reference (left) to like the batch (right)",
    CONFIDENCE: "probability of the predicted class",
    "brightness": "mean luminance",
    "contrast": "contrast (luminance from 5 % to 95 %)",
    "sharpness": "edge sharpness",
}


def draw_changes(changes: Sequence[Change], pool: Pool) -> Iterator[tuple[str, str]]:
    """Yield the name of each test and its figure, as the data URL of an SVG picture."""
    own, batch = pool.reference.images, pool.images
    witness = pool.witness(np.arange(len(batch)))
    values = {CONFIDENCE: (own.confidences, batch.confidences)}
    values |= {name: (own.picture(name), batch.picture(name)) for name in PICTURES}
    if witness is not None:
        values[FEATURES] = (witness.own, witness.other)
    for change in changes:
        if change.name == CLASSES:
            yield change.name, _url(_shares(pool))
        else:
            yield change.name, _url(_histogram(*values[change.name], _AXES[change.name]))


def _figure() -> "Figure":
    from matplotlib.figure import Figure  # slow to import

    return Figure(figsize=_INCHES, layout="constrained")


def _histogram(own: Floats, batch: Floats, label: str) -> "Figure":
    figure = _figure()
    axes = figure.add_subplot()
    edges = np.histogram_bin_edges(np.concatenate([own, batch]), _N_BINS).tolist()
    for values, name, style in ((own, "reference", {"color": BLUE, "alpha": 0.45}), (batch, "batch", _LINE)):
        axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), label=name, **style)
    axes.set(xlabel=label, ylabel="% of images")
    _finish(axes)
    return figure


_LINE: dict[str, Any] = {"histtype": "step", "color": ORANGE, "linewidth": 1.8}


def _shares(pool: Pool) -> "Figure":
    """Return a figure of the shares of the classes that differ most."""
    names = pool.reference.class_names
    own, batch = (
        np.bincount(one.labels, minlength=len(names)) / len(one) for one in (pool.reference.images, pool.images)
    )
    rows = np.sort(np.argsort(-np.abs(batch - own), kind="stable")[:_MOST_CLASSES])
    figure = _figure()
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    axes.bar(places - 0.2, 100 * own[rows], 0.4, color=BLUE, alpha=0.45, label="reference")
    axes.bar(places + 0.2, 100 * batch[rows], 0.4, color=ORANGE, label="batch")
    shown = display_names([names[row] for row in rows])
    turned = sum(map(len, shown)) > 40
    axes.set_xticks(places, shown, parse_math=False, rotation=60 if turned else 0, ha="right" if turned else "center")
    axes.set(ylabel="% of images", xlabel="class answered" if len(rows) == len(names) else "classes that differ most")
    _finish(axes)
    return figure


def _finish(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)


def _url(figure: "Figure") -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
