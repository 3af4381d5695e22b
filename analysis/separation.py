"""Which rows of a table are told apart: paired differences on stored predictions, adjusted for all pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import SeededDifference, hierarchical_bootstrap_difference, holm, mcnemar
from resnet_mlflow.tracking import Predictions, load_predictions

ALPHA = 0.05
N_RESAMPLES = 10_000
# Scores that stored predictions give anew, and whether classes weigh the same in them.
TESTED = {"test/accuracy": False, "test/balanced_accuracy": True}


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Which test items a run got right, in the order of their ids; equal items in the order they were logged."""

    item_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """The difference of two rows, first minus second, and its p value after Holm over all pairs of the table."""

    first: int
    second: int
    difference: SeededDifference
    adjusted_p: float

    @property
    def separated(self) -> bool:
        """Return whether the interval does not hold 0 and the adjusted p value is below 0.05."""
        low, high = self.difference.interval
        return (low > 0 or high < 0) and self.adjusted_p < ALPHA


class MissingPredictions(InputError):
    """A run that left no predictions behind, or is gone."""


@lru_cache(maxsize=4096)
def item_scores(run_id: str) -> ItemScores:
    """Return which test items a run got right.

    Raises:
        MissingPredictions: If the run has no stored predictions, or was deleted.
    """
    stored = stored_predictions(run_id)
    return ItemScores(stored.item_ids, stored.labels, stored.correct)


def stored_predictions(run_id: str) -> Predictions:
    """Return what a run predicted of its test items, in the order of their ids.

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
    order = np.argsort(stored.item_ids, kind="stable")
    texts = (stored.item_ids, stored.labels, stored.predictions)
    item_ids, labels, predictions = (text[order] for text in texts)
    return Predictions(item_ids, labels, predictions, stored.scores[order], stored.class_names)


def paired_difference(
    first: Mapping[int, str], second: Mapping[int, str], *, balanced: bool = False, n_resamples: int = N_RESAMPLES
) -> SeededDifference | None:
    """Return the score of the first method minus that of the second on the seeds that both have.

    With several seeds the interval and the p value cover seeds and items (hierarchical bootstrap). With one seed they
    cover items alone, and the p value of accuracies is McNemar's.

    Args:
        first: Run by seed.
        second: Run by seed of the other method.
        balanced: Whether classes weigh the same.
        n_resamples: Bootstrap samples.

    Returns:
        Nothing where the methods share no seed.

    Raises:
        InputError: If a run has no predictions, or the runs were tested on other items.
    """
    seeds = sorted(set(first) & set(second))
    if not seeds:
        return None
    left, right = ([item_scores(runs[seed]) for seed in seeds] for runs in (first, second))
    _refuse_other_items([*left, *right], [*first.values(), *second.values()])
    found = hierarchical_bootstrap_difference(
        np.array([scores.correct for scores in left]),
        np.array([scores.correct for scores in right]),
        classes=left[0].labels if balanced else None,
        n_resamples=n_resamples,
    )
    if len(seeds) > 1 or balanced:
        return found
    p_value = mcnemar(left[0].correct, right[0].correct).p_value
    return SeededDifference(found.difference, found.interval, p_value, 1, found.n_items)


def _refuse_other_items(scores: Sequence[ItemScores], run_ids: Sequence[str]) -> None:
    ids, labels = scores[0].item_ids, scores[0].labels
    if not all(np.array_equal(one.item_ids, ids) and np.array_equal(one.labels, labels) for one in scores):
        raise InputError(
            f"compared runs must have the same test items and labels, got other ones in {', '.join(run_ids)}; compare "
            "runs of one dataset digest"
        )


def compare_all_pairs(rows: Sequence[Mapping[int, str]], *, balanced: bool = False) -> list[Pair]:
    """Return the differences of all pairs of rows, with p values adjusted by Holm over all of them.

    Args:
        rows: Per row its run by seed.
        balanced: Whether classes weigh the same.

    Raises:
        InputError: As ``paired_difference``.
    """
    places = list(combinations(range(len(rows)), 2))
    # The smallest p value a bootstrap can give must pass Holm's first step.
    n_resamples = max(N_RESAMPLES, 100 * len(places))
    found = [(i, j, paired_difference(rows[i], rows[j], balanced=balanced, n_resamples=n_resamples)) for i, j in places]
    told = [(i, j, difference) for i, j, difference in found if difference is not None]
    adjusted = holm([difference.p_value for *_, difference in told])
    return [Pair(i, j, difference, p) for (i, j, difference), p in zip(told, adjusted, strict=True)]


def winner_of(n_rows: int, pairs: Sequence[Pair]) -> int | None:
    """Return the row that is better than every other and told apart from each, if there is one."""
    wins = [0] * n_rows
    for pair in pairs:
        if pair.separated:
            wins[pair.first if pair.difference.difference > 0 else pair.second] += 1
    return next((row for row, n_wins in enumerate(wins) if n_rows > 1 and n_wins == n_rows - 1), None)
