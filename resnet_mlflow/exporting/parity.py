"""How well an exported form agrees with the classifier, and whether that is enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting.graph import ANSWERED, LABEL, SCORES, SET
from resnet_mlflow.registry.export_formats import EXACT
from resnet_mlflow.statistics import Interval, tango_interval
from resnet_mlflow.statistics.intervals import normal_quantile

# Largest permitted difference of a score in the exact form; another order of float32 sums gives a hundredth of it.
TOLERANCE = 1e-4
# Share of images whose set or answered flag may differ in the exact form: rounding may cross a threshold.
CROSSING = 1e-3

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Parity:
    """How a form performs on the test split, compared with the classifier itself.

    Attributes:
        n_images: Number of images.
        n_alike: Number of images with the label of the classifier in fp32.
        max_difference: Largest difference of a score from the classifier's in fp32.
        accuracy: Accuracy of the form.
        difference: Its accuracy minus that of the classifier in its own precision.
        interval: Paired 95 % interval of that difference.
        answered_alike: Share of images with the classifier's decision to answer; None without rules.
        sets_alike: Share of images with the classifier's set; None without rules.
    """

    n_images: int
    n_alike: int
    max_difference: float
    accuracy: float
    difference: float
    interval: Interval
    answered_alike: float | None = None
    sets_alike: float | None = None

    @property
    def agreement(self) -> float:
        """Return the share of images with the label of the classifier in fp32."""
        return self.n_alike / self.n_images


def compare(form: Outputs, exact: Outputs, own: Outputs, labels: NDArray[np.int64]) -> Parity:
    """Return how well a form agrees with the classifier.

    Args:
        form: Outputs of the form for the test images, by name.
        exact: Outputs of the classifier in fp32.
        own: Its outputs in its own precision, in which it is served.
        labels: The true classes, ``(n_images,)``.
    """
    right, own_right = form[LABEL] == labels, own[LABEL] == labels
    n, n_gained, n_lost = len(labels), int((right & ~own_right).sum()), int((own_right & ~right).sum())
    shares = {}
    if ANSWERED in form:
        alike = {
            "answered_alike": form[ANSWERED] == exact[ANSWERED],
            "sets_alike": (form[SET] == exact[SET]).all(axis=1),
        }
        shares = {name: float(values.mean()) for name, values in alike.items()}
    return Parity(
        n,
        int((form[LABEL] == exact[LABEL]).sum()),
        float(np.abs(form[SCORES].astype(np.float64) - exact[SCORES]).max()),
        float(right.mean()),
        (n_gained - n_lost) / n,
        tango_interval(n_gained, n_lost, n),
        **shares,
    )


def check(found: Parity, form: str, precision: str, margin: float) -> None:
    """Refuse a form that does not agree with the classifier: on every image in fp32, else in accuracy.

    Args:
        found: The measurements.
        form: Name of the form.
        precision: Precision of the form.
        margin: Accuracy that forms other than fp32 may lose.

    Raises:
        InputError: If it does not agree; the message has the figures.
    """
    if precision == EXACT:
        _check_exact(found, form)
    elif found.interval[0] < -margin:
        low, high = found.interval
        needed = n_needed(margin)
        fewer = f" (even without a loss, {needed} would be needed)" if found.n_images < needed else ""
        raise InputError(
            f"{form} must lose at most margin={margin:g} of accuracy, got {found.difference:+.4f} (95 % interval "
            f"{low:+.4f} to {high:+.4f}) on {found.n_images} test images{fewer}; nothing was written; pass another "
            f"precision or a larger margin"
        )


def _check_exact(found: Parity, form: str) -> None:
    least = 1 - max(CROSSING, 1 / found.n_images)
    rules_alike = found.answered_alike is None or min(found.answered_alike, found.sets_alike or 0.0) >= least
    # A positive condition, so that NaN scores are refused.
    if found.n_alike == found.n_images and found.max_difference <= TOLERANCE and rules_alike:
        return
    rules = (
        "" if rules_alike else f", {found.answered_alike:.4f} alike in being answered, {found.sets_alike:.4f} in sets"
    )
    raise InputError(
        f"{form} must give the classifier's predictions, with scores within {TOLERANCE:g}, got {found.n_alike} of "
        f"{found.n_images} predictions and scores up to {found.max_difference:.2g} apart{rules}; nothing was written; "
        f"export in another precision, which must only keep the accuracy"
    )


def n_needed(margin: float) -> int:
    """Return the smallest number of test images for an interval above ``-margin`` if no prediction changes.

    Example:
        >>> n_needed(0.02), tango_interval(0, 0, 189)[0] > -0.02
        (189, True)
    """
    square = normal_quantile(0.95) ** 2
    return int(np.ceil(square * (1 / margin - 1)))
