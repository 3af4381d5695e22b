"""How much the best of many classifiers is overestimated on the items used to choose it."""

import math

from scipy import special


def luck_of_the_best(n_tried: int, n_items: int, accuracy: float) -> float:
    """Return by how much the best of equally accurate classifiers appears better than it is.

    It is the expected maximum of ``n_tried`` standard normal numbers, times the standard error of an accuracy.
    Classifiers that err on the same items differ less from each other, so for them this is an upper bound.

    Args:
        n_tried: Number of classifiers from which the best was chosen, at least 1.
        n_items: Number of items used to evaluate each and to choose the best, at least 1.
        accuracy: Accuracy of the best, in [0, 1]; two right and two wrong items are added, so that no classifier is
            perfect.

    References:
        Blom (1958), Statistical Estimates and Transformed Beta-Variables, for the largest; Agresti and Coull (1998),
        Approximate is better than "exact", for the error; Cawley and Talbot (2010), On over-fitting in model selection,
        JMLR 11, for why it matters.

    Example:
        >>> round(luck_of_the_best(n_tried=100, n_items=1000, accuracy=0.9), 4)
        0.0238
    """
    return expected_largest(n_tried) * math.sqrt(_variance(n_items, accuracy) / (n_items + 4))


def images_for_luck(luck: float, n_tried: int, n_items: int, accuracy: float) -> int:
    """Return the number of items that would bring ``luck_of_the_best`` down to ``luck`` at the observed accuracy.

    Args:
        luck: Target value, in (0, 1).
        n_tried: As for ``luck_of_the_best``.
        n_items: As for ``luck_of_the_best``.
        accuracy: As for ``luck_of_the_best``.
    """
    return math.ceil((expected_largest(n_tried) / luck) ** 2 * _variance(n_items, accuracy) - 4)


def expected_largest(n: int) -> float:
    """Return the expected maximum of ``n`` independent standard normal numbers, within 0.03.

    Example:
        >>> expected_largest(1), round(expected_largest(10), 2)
        (0.0, 1.55)
    """
    return float(special.ndtri((n - 0.375) / (n + 0.25)))


def _variance(n_items: int, accuracy: float) -> float:
    """Return the variance of correctness for one item."""
    share = (accuracy * n_items + 2) / (n_items + 4)
    return share * (1 - share)
