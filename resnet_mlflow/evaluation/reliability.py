"""How well probabilities are calibrated: accuracy by confidence, as numbers and as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.evaluation.figures import BLUE, GREY, ORANGE, TEXT_POINTS, new_figure
from resnet_mlflow.evaluation.scores import confidence_bins
from resnet_mlflow.statistics import accuracy_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Items with a largest probability in ``(low, high]``.

    Attributes:
        low: Lower edge.
        high: Upper edge.
        n: Number of items in it, at least one.
        confidence: Their mean largest probability.
        accuracy: Share of right items.
        interval: 95 % interval of the accuracy.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


def reliability(probabilities: ArrayLike, labels: ArrayLike, n_bins: int = N_BINS) -> list[Bin]:
    """Return the bins that hold items, lowest confidence first.

    Args:
        probabilities: Rows that sum to one, ``(n_items, n_classes)``.
        labels: Class of each item, ``(n_items,)``.
        n_bins: Number of bins of equal width, at least 1.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks, figure 1.

    Example:
        >>> found = reliability([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6]], [0, 1, 1])
        >>> [(round(one.confidence, 2), one.accuracy, one.n) for one in found]
        [(0.6, 1.0, 1), (0.95, 0.5, 2)]
    """
    confidence, right, bins = confidence_bins(probabilities, labels, n_bins)
    edges = np.linspace(0, 1, n_bins + 1)
    found = []
    for number in np.unique(bins).tolist():
        own = bins == number
        n, n_right = int(own.sum()), int(right[own].sum())
        interval = accuracy_interval(n_right, n)
        low, high = float(edges[number]), float(edges[number + 1])
        found.append(Bin(low, high, n, float(confidence[own].mean()), n_right / n, interval))
    return found


def reliability_figure(bins: Sequence[Bin], judged: str = "test images") -> "Figure":
    """Return a figure of accuracy against confidence with intervals and the line of equality, and items per bin below.

    Args:
        bins: Result of ``reliability``.
        judged: Description of the items.
    """
    figure = new_figure(4.6)
    above, below = figure.add_axes((0.09, 0.36, 0.88, 0.6)), figure.add_axes((0.09, 0.11, 0.88, 0.18))
    x, accuracy = [one.confidence for one in bins], [one.accuracy for one in bins]
    # Rounding may put an end of the interval on the wrong side of a share of 0 or 1.
    lower = [max(0.0, one.accuracy - one.interval[0]) for one in bins]
    upper = [max(0.0, one.interval[1] - one.accuracy) for one in bins]
    above.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="perfect calibration")
    above.errorbar(x, accuracy, yerr=[lower, upper], fmt="o", color=BLUE, markersize=4, capsize=3, label=judged)
    above.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.05))
    above.legend(fontsize=TEXT_POINTS + 1, loc="upper left")
    centres = [(one.low + one.high) / 2 for one in bins]
    below.bar(centres, [one.n for one in bins], width=0.9 / N_BINS, color=ORANGE)
    below.set(xlabel="confidence", ylabel="images", xlim=(0, 1.02))
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=TEXT_POINTS + 1)
    return figure
