"""Gains of a table's rows over a baseline row: paired differences with their intervals."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.best import doubt_about, name_of
from analysis.intervals import HELD_OUT, NOTHING, PARTS
from analysis.separation import TESTED, MissingPredictions, paired_difference, runs_by_seed
from analysis.table import Doubt
from resnet_mlflow.statistics import SeededDifference, holm, needed

GAIN = "gain"
P_HOLM = "p Holm"
# From all rows and one of them to the position of the row that this one is compared with.
Baseline = Callable[[pd.DataFrame, "pd.Series[Any]"], int | None]


@dataclass(frozen=True)
class Gains:
    """Gains of rows over their baselines.

    Attributes:
        metric: The score in which gains are measured.
        baselines: Position of each row's baseline; None if it has none, or is a baseline itself.
        found: Difference between each row and its baseline; None if there is none.
        p_values: P values of the differences, after Holm over all gains of the table; NaN if there is none.
        notes: What is missing, and why.
    """

    metric: str
    baselines: Sequence[int | None]
    found: Sequence[SeededDifference | None]
    p_values: Sequence[float]
    notes: tuple[str, ...]

    def p_of(self, first: int, second: int, metric: str) -> float | None:
        """Return the p value of the difference between two rows, if one of them is the other's baseline."""
        for row, other in ((first, second), (second, first)):
            if metric == self.metric and self.baselines[row] == other and self.found[row] is not None:
                return self.p_values[row]
        return None


def gains_over(rows: pd.DataFrame, baseline: Baseline, *, balanced: bool = False) -> Gains:
    """Return each row's gain over its baseline, with p values after Holm over all gains.

    Args:
        rows: Rows with ``seeds`` and ``run_ids``, at positions 0, 1, ...
        baseline: Returns the position of a row's baseline; nothing if it has none.
        balanced: Whether the gain is in balanced accuracy instead of accuracy.
    """
    found: list[SeededDifference | None] = []
    notes: list[str] = []
    baselines = [baseline(rows, rows.iloc[position]) for position in range(len(rows))]
    baselines = [None if other == position else other for position, other in enumerate(baselines)]
    for position, other in enumerate(baselines):
        found.append(None)
        if other is None:
            continue
        row = rows.iloc[position]
        runs, others = runs_by_seed(row), runs_by_seed(rows.iloc[other])
        try:
            found[-1] = paired_difference(runs, others, balanced=balanced, held_out=float(row[HELD_OUT]))
        except MissingPredictions as error:
            notes.append(f"A gain is omitted: {error}.")
    metric = next(name for name, weighed in TESTED.items() if weighed == balanced)
    p_values = holm([math.nan if gain is None else gain.p_value for gain in found])
    return Gains(metric, baselines, found, list(p_values), tuple(notes))


def with_gains(rows: pd.DataFrame, gains: Gains) -> pd.DataFrame:
    """Return rows with their gains.

    Returns:
        The rows with columns ``gain``, ``gain low`` and ``gain high`` (seeds and items together), the same for its
        parts (``gain seeds low``, ``gain items low``), and ``p Holm``; NaN if a row is a baseline itself, or one of the
        two has no predictions.
    """
    frame = rows.copy()
    frame[GAIN] = [math.nan if gain is None else gain.difference for gain in gains.found]
    for part, name in PARTS.items():
        ends = [NOTHING if gain is None else getattr(gain, name) for gain in gains.found]
        frame[f"{GAIN}{part} low"], frame[f"{GAIN}{part} high"] = zip(*ends, strict=True)
    frame[P_HOLM] = gains.p_values
    return frame


def doubts_about_gains(rows: pd.DataFrame, gains: Gains) -> Iterator[Doubt]:
    """Yield the gains above 0 whose intervals contain 0."""
    n_gains, held_out = sum(gain is not None for gain in gains.found), float(rows[HELD_OUT].max())
    for position, (other, gain) in enumerate(zip(gains.baselines, gains.found, strict=True)):
        if other is not None and gain is not None and gain.difference > 0 >= gain.interval[0]:
            claim = f"{name_of(rows, position)} over {name_of(rows, other)}"
            yield doubt_about(claim, gain, needed(gain, n_gains, held_out))
