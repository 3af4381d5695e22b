"""Scores under corruption: corruption errors against a reference, and whether predictions survive.

References:
    Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions and Perturbations,
    section 4.1.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.robustness.corruption import SEVERITIES
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.statistics import Interval, item_weights, score_reach

# Top-1 error by corruption and severity.
Errors = Mapping[str, Mapping[int, float]]


def corruption_error(errors: Sequence[float], reference: Sequence[float]) -> float:
    """Return CE: the sum of errors over the severities of a corruption, divided by that of the reference.

    It is NaN if the reference makes no errors.

    Args:
        errors: Top-1 error per severity, in [0, 1].
        reference: The same for the reference.

    Example:
        >>> corruption_error([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])
        0.5
    """
    return _ratio(math.fsum(errors), math.fsum(reference))


def relative_corruption_error(
    errors: Sequence[float], clean: float, reference: Sequence[float], reference_clean: float
) -> float:
    """Return relative CE: the increase of the error under corruption, divided by that of the reference.

    It is NaN if the reference's error does not change.

    Example:
        >>> round(relative_corruption_error([0.3, 0.5], 0.1, [0.5, 0.9], 0.2), 2)
        0.6
    """
    return _ratio(
        math.fsum(error - clean for error in errors), math.fsum(error - reference_clean for error in reference)
    )


def mean_corruption_error(errors: Errors, reference: Errors) -> float:
    """Return mCE in percent: 100 times the mean of CE over the 15 corruptions of the benchmark.

    It is NaN if one of the 75 errors is missing on either side.
    """
    if not (is_complete(errors) and is_complete(reference)):
        return math.nan
    return 100 * float(np.mean([corruption_error(_row(errors, c), _row(reference, c)) for c in BENCHMARK]))


def relative_mean_corruption_error(errors: Errors, clean: float, reference: Errors, reference_clean: float) -> float:
    """Return relative mCE in percent: 100 times the mean of relative CE over the 15 corruptions of the benchmark."""
    if not (is_complete(errors) and is_complete(reference)):
        return math.nan
    pairs = ((_row(errors, name), _row(reference, name)) for name in BENCHMARK)
    relative = [relative_corruption_error(own, clean, other, reference_clean) for own, other in pairs]
    return 100 * float(np.mean(relative))


def is_complete(errors: Errors) -> bool:
    """Return whether all 15 corruptions of the benchmark are present at all 5 severities."""
    return all(set(SEVERITIES) <= errors.get(name, {}).keys() for name in BENCHMARK)


def consistency(predictions: ArrayLike, clean: ArrayLike) -> float:
    """Return the share of items whose predicted label survives the corruption, right or wrong.

    Example:
        >>> consistency([0, 1, 2, 2], [0, 1, 2, 0])
        0.75
    """
    return float(np.mean(np.asarray(predictions) == np.asarray(clean)))


def mean_over_items(correct: NDArray[np.bool_]) -> tuple[float, Interval]:
    """Return the mean over cells and items, and its 95 % interval over items.

    All cells hold the same images, so an image's share of right cells is one observation, not one per cell. The
    interval is Wilson's for the number of images that gives the variance of the shares. One image that is wrong in all
    cells is added to estimate how similar cells are. The interval has a positive width even if all images are right.

    Args:
        correct: Whether each item is right in each cell, shape ``(n_cells, n_items)``.

    References:
        Korn and Graubard (1998), Survey Methodology 24, for effective numbers of items.
    """
    weights, labels = item_weights(correct.shape[1], None)
    low, high = score_reach(correct.astype(np.float64), weights, labels).over_items
    return float(correct.mean()), (float(low), float(high))


def _row(errors: Errors, corruption: str) -> list[float]:
    return [errors[corruption][severity] for severity in SEVERITIES]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
