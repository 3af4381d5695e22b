"""Intervals of scores: over seeds, over test items, and over both together; tables show the last."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.separation import TESTED, MissingPredictions, runs_by_seed, seeded_score
from resnet_mlflow.statistics import Interval, SeededScore, seed_reach

# Validation images that a seed draws from shared training images, divided by those left; a column of score_rows.
HELD_OUT = "held out"
PARTS = {"": "interval", " seeds": "over_seeds", " items": "over_items"}
NOTHING: Interval = (math.nan, math.nan)


def score_of_seeds(group: pd.DataFrame, metric: str, held_out: float) -> SeededScore:
    """Return a metric over seeds with its intervals, from logged values.

    Runs log the interval of one seed over test items. Until predictions are read, it is used as the items' part of the
    mean over seeds, which is at most as wide. Validation images differ by seed, so for validation scores the interval
    over seeds covers both. Metrics without a logged interval (NLL, ECE, seconds) have only the seeds' part.

    Args:
        group: Runs with different seeds, without those that repeat another run's results.
        metric: Name of a column; if it is missing, all values are NaN.
        held_out: As ``statistics.score_over_seeds``.
    """
    values = group[metric].to_numpy(dtype=np.float64) if metric in group else np.array([])
    known = ~np.isnan(values)
    k = int(known.sum())
    if not k:
        return SeededScore(math.nan, NOTHING, NOTHING, NOTHING, 0)
    mean = float(values[known].mean())
    low, high = (_logged(group, f"{metric}_ci_{end}")[known] for end in ("low", "high"))
    if k == 1:
        return SeededScore(mean, NOTHING, (float(low[0]), float(high[0])), (float(low[0]), float(high[0])), 1)
    reach = float(seed_reach(values[known].var(ddof=1), k, held_out))
    over_seeds = max(0.0, mean - reach), min(_most(metric), mean + reach)
    if metric.startswith("val/") or np.isnan(low).any():
        return SeededScore(mean, over_seeds, NOTHING, over_seeds, k)
    below, above = float((values[known] - low).mean()), float((high - values[known]).mean())
    together = max(0.0, mean - math.hypot(reach, below)), min(1.0, mean + math.hypot(reach, above))
    return SeededScore(mean, over_seeds, (mean - below, mean + above), together, k)


def _most(metric: str) -> float:
    """Return the highest value that a metric can have; the lowest is 0 for all of them."""
    return 1.0 if metric.endswith(("accuracy", "f1", "ece")) else math.inf


def _logged(group: pd.DataFrame, name: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return group[name].to_numpy(dtype=np.float64) if name in group else np.full(len(group), math.nan)


def interval_columns(metric: str, score: SeededScore) -> dict[str, float]:
    """Return the ends of a score's intervals as a table's columns: ``x low``, ``x seeds low``, ``x items low``, ..."""
    ends = {f"{metric}{part}": getattr(score, name) for part, name in PARTS.items()}
    return {f"{name} {end}": value[i] for name, value in ends.items() for i, end in enumerate(("low", "high"))}


def with_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scores whose intervals over several seeds are computed from predictions, item by item.

    Rows without predictions keep the intervals of ``score_of_seeds``, which are at least as wide.

    Args:
        frame: As ``cells.score_rows`` returns it.
    """
    frame = frame.copy()
    for row in frame.index:
        several = [name for name in TESTED if f"{name} n" in frame and frame[f"{name} n"][row] > 1]
        runs, held_out = runs_by_seed(frame.loc[row]), float(frame[HELD_OUT][row])
        try:
            found = {name: seeded_score(runs, balanced=TESTED[name], held_out=held_out) for name in several}
        except MissingPredictions:
            continue
        for metric, score in found.items():
            for name, value in interval_columns(metric, score).items():
                frame.loc[row, name] = value
    return frame
