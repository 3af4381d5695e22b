"""Which rows of a table differ significantly: paired differences on stored predictions, adjusted for all pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from analysis.table import RUN_IDS, SEEDS
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    Pair,
    SeededDifference,
    SeededScore,
    difference_over_seeds,
    holm,
    score_over_seeds,
)
from resnet_mlflow.tracking import Predictions, load_predictions

# Scores that can be recomputed from stored predictions, and whether all classes have equal weight.
TESTED = {"test/accuracy": False, "test/balanced_accuracy": True}

# How rows are compared; a note below such tables.
TESTS = (
    "Rows are compared seed by seed on the same test images: Tango's interval over images and Student's t interval "
    "over seeds, combined by MOVER; with one seed, Tango's interval and McNemar's test. In balanced accuracy all "
    "classes have equal weight. Bold and p values are after Holm's correction."
)


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Which test items a run classified correctly, in the order of their ids; equal ids in the order of logging."""

    item_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    correct: NDArray[np.bool_]


class MissingPredictions(InputError):
    """A run has no stored predictions, or was deleted."""


@lru_cache(maxsize=4096)
def item_scores(run_id: str) -> ItemScores:
    """Return which test items a run classified correctly.

    Raises:
        MissingPredictions: If the run has no stored predictions, or was deleted.
    """
    stored = stored_predictions(run_id)
    return ItemScores(stored.item_ids, stored.labels, stored.correct)


def stored_predictions(run_id: str) -> Predictions:
    """Return a run's predictions of its test items, in the order of their ids.

    Raises:
        MissingPredictions: If the run has no stored predictions, or was deleted.
    """
    try:
        stored = load_predictions(run_id)
    except (InputError, MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise MissingPredictions(
            f"a run must have predictions of its test items to be compared, got run {run_id} without "
            f"evaluation/test/predictions.parquet ({reason}); run it again"
        ) from None
    return stored.take(np.argsort(stored.item_ids, kind="stable"))


def check_same_items(predictions: Sequence[Predictions]) -> None:
    """Check that the seeds of one classifier were tested on the same items.

    Raises:
        InputError: If they were not.
    """
    if any(not np.array_equal(one.item_ids, predictions[0].item_ids) for one in predictions):
        raise InputError("the seeds of the best run must be tested on the same items, got different ones")


def runs_by_seed(row: "pd.Series[Any]") -> Mapping[int, str]:
    """Return the run of each seed behind a row."""
    return dict(zip(row[SEEDS], row[RUN_IDS], strict=True))


def seeded_score(runs: Mapping[int, str], *, balanced: bool = False, held_out: float = 0.0) -> SeededScore:
    """Return a method's test score over its seeds, with intervals over seeds, over items and over both.

    Args:
        runs: Runs by seed.
        balanced: Whether all classes have equal weight.
        held_out: As ``statistics.score_over_seeds``.

    Raises:
        InputError: If a run has no predictions, or the runs were tested on different items.
    """
    scores = [item_scores(run_id) for run_id in runs.values()]
    _refuse_other_items(scores, list(runs.values()))
    correct = np.array([one.correct for one in scores])
    return score_over_seeds(correct, classes=scores[0].labels if balanced else None, held_out=held_out)


def paired_difference(
    first: Mapping[int, str], second: Mapping[int, str], *, balanced: bool = False, held_out: float = 0.0
) -> SeededDifference | None:
    """Return the score of the first method minus that of the second on the seeds that both have.

    With several seeds the interval and the p value cover seeds and items together. With one seed they cover only
    items: Tango's interval and McNemar's test, with equal weight for all classes if ``balanced``.

    Args:
        first: Runs by seed.
        second: Runs of the other method by seed.
        balanced: Whether all classes have equal weight.
        held_out: As ``statistics.difference_over_seeds``.

    Returns:
        Nothing if the methods have no seed in common.

    Raises:
        InputError: If a run has no predictions, or the runs were tested on different items.
    """
    seeds = sorted(set(first) & set(second))
    if not seeds:
        return None
    left, right = ([item_scores(runs[seed]) for seed in seeds] for runs in (first, second))
    _refuse_other_items([*left, *right], [*first.values(), *second.values()])
    return difference_over_seeds(
        np.array([scores.correct for scores in left]),
        np.array([scores.correct for scores in right]),
        classes=left[0].labels if balanced else None,
        held_out=held_out,
    )


def _refuse_other_items(scores: Sequence[ItemScores], run_ids: Sequence[str]) -> None:
    ids, labels = scores[0].item_ids, scores[0].labels
    if not all(np.array_equal(one.item_ids, ids) and np.array_equal(one.labels, labels) for one in scores):
        raise InputError(
            f"compared runs must have the same test items and labels, got other ones in {', '.join(run_ids)}; compare "
            "runs of one dataset digest"
        )


def compare_all_pairs(
    rows: Sequence[Mapping[int, str]], *, balanced: bool = False, held_out: float = 0.0
) -> list[Pair]:
    """Return the differences of all pairs of rows, with p values adjusted by Holm over all of them.

    Args:
        rows: The runs by seed of each row.
        balanced: Whether all classes have equal weight.
        held_out: As ``statistics.difference_over_seeds``.

    Raises:
        InputError: As ``paired_difference``.
    """
    places = list(combinations(range(len(rows)), 2))
    found = [(i, j, paired_difference(rows[i], rows[j], balanced=balanced, held_out=held_out)) for i, j in places]
    compared = [(i, j, difference) for i, j, difference in found if difference is not None]
    adjusted = holm([difference.p_value for *_, difference in compared])
    return [Pair(i, j, difference, p) for (i, j, difference), p in zip(compared, adjusted, strict=True)]


def winner_of(n_rows: int, pairs: Sequence[Pair]) -> int | None:
    """Return the row that is significantly better than every other, if there is one."""
    wins = [0] * n_rows
    for pair in pairs:
        if pair.separated:
            wins[pair.first if pair.difference.difference > 0 else pair.second] += 1
    return next((row for row, n_wins in enumerate(wins) if n_rows > 1 and n_wins == n_rows - 1), None)
