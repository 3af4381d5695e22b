"""Scores by slice: the parts of a test split given by a column, such as the site that images come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.statistics import accuracy_interval, holm, slices_p_value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SliceScore:
    """Accuracy on a slice, with its 95 % interval.

    Attributes:
        column: Column that defines the slices.
        value: Value of this slice's items in the column.
        n: Number of items in it.
        accuracy: Share of them that are right.
        low: Lower end of the interval.
        high: Upper end.
    """

    column: str
    value: str
    n: int
    accuracy: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """Return the name of a slice."""
        return f"{self.column}={self.value}"


@dataclass(frozen=True)
class SliceScores:
    """Scores of all slices.

    Attributes:
        scores: Scores, ordered by column, then by value.
        p_values: P values by column for equal accuracy in all its slices, after Holm over columns.
    """

    scores: tuple[SliceScore, ...]
    p_values: Mapping[str, float]

    @property
    def worst(self) -> SliceScore:
        """Return the slice whose interval has the lowest upper end: the one most certain to be bad."""
        return min(self.scores, key=lambda one: (one.high, one.accuracy))

    def frame(self) -> "pd.DataFrame":
        """Return one row per slice: ``column``, ``value``, ``n``, ``accuracy``, ``low``, ``high``, ``p_value``."""
        import pandas as pd

        return pd.DataFrame([vars(one) | {"p_value": self.p_values[one.column]} for one in self.scores])


def score_slices(correct: ArrayLike, slices: Mapping[str, Sequence[str]]) -> SliceScores | None:
    """Return the accuracy of each slice, and whether those of a column differ; None if there are no slices.

    Args:
        correct: Whether each item is right, ``(n_items,)``.
        slices: By column, the value of each item; items with an empty text are in no slice of it.

    Example:
        >>> found = score_slices([True] * 9 + [False], {"site": ["north"] * 5 + ["south"] * 5})
        >>> [(one.name, one.n, one.accuracy) for one in found.scores], found.worst.name
        ([('site=north', 5, 1.0), ('site=south', 5, 0.8)], 'site=south')
        >>> found.p_values
        {'site': 1.0}
    """
    right = np.asarray(correct, dtype=bool)
    scores, p_values = [], []
    for column, texts in slices.items():
        values = np.asarray(texts, dtype=np.str_)
        known = values != ""
        scores += [_score(column, str(value), right[values == value]) for value in np.unique(values[known])]
        p_values.append(slices_p_value(right[known], values[known]) if known.any() else 1.0)
    return SliceScores(tuple(scores), dict(zip(slices, holm(p_values), strict=True))) if scores else None


def _score(column: str, value: str, right: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> SliceScore:
    n_right = int(right.sum())
    low, high = accuracy_interval(n_right, len(right))
    return SliceScore(column, value, len(right), n_right / len(right), low, high)
