"""Intervals of scores over seeds: over seeds, over test items, and over both together, which is what tables show."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.separation import TESTED, MissingPredictions, runs_by_seed, seeded_score
from resnet_mlflow.statistics import Interval, SeededScore, seed_reach

# What seeds hold out of common training images for validation, over what they train on; a column of score_rows.
HELD_OUT = "held out"
PARTS = {"": "interval", " seeds": "over_seeds", " items": "over_items"}
NOTHING: Interval = (math.nan, math.nan)


def score_of_seeds(group: pd.DataFrame, metric: str, held_out: float) -> SeededScore:
    """Return a metric over seeds with its intervals, from what runs logged.

    Runs log the interval of one seed over test items. Until predictions are read, it stands for the items' part of the
    mean over seeds, which is at most as wide. Each seed validates on images of its own: over seeds is over both there,
    and what has no logged interval (NLL, ECE, seconds) has the part of the seeds alone.

    Args:
        group: Runs that differ in their seeds, those that repeat another one's results left out.
        metric: Name of a column; where it is missing all is NaN.
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
    """Return the highest value that a metric can have; none of them is below 0."""
    return 1.0 if metric.endswith(("accuracy", "f1", "ece")) else math.inf


def _logged(group: pd.DataFrame, name: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return group[name].to_numpy(dtype=np.float64) if name in group else np.full(len(group), math.nan)


def interval_columns(metric: str, score: SeededScore) -> dict[str, float]:
    """Return the ends of a score's intervals as a table's columns: ``x low``, ``x seeds low``, ``x items low``, ..."""
    ends = {f"{metric}{part}": getattr(score, name) for part, name in PARTS.items()}
    return {f"{name} {end}": value[i] for name, value in ends.items() for i, end in enumerate(("low", "high"))}


def with_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scores whose intervals over several seeds rest on what the seeds predicted, item by item.

    Rows whose predictions are missing keep those of ``score_of_seeds``, which are as wide or wider.

    Args:
        frame: As ``cells.score_rows`` gives it.
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
