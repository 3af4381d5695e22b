"""Which cross-validated configurations differ significantly: paired differences on out-of-fold predictions."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.separation import MissingPredictions
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import Pair, SeededDifference, cross_validated_difference, holm
from resnet_mlflow.tracking import OUT_OF_FOLD, CrossedPredictions, load_out_of_fold

# Scores that can be recomputed from predictions, and whether all classes have equal weight.
COMPARED = {"cv_accuracy": False, "cv_balanced_accuracy": True}

# How rows are compared; a note below the table.
TESTS = (
    "Rows with the same folds are compared fold by fold on the same images: by the corrected resampled t interval and "
    "test (Nadeau and Bengio; Bouckaert and Frank) or, if wider, Tango's interval over images; p is the larger of the "
    "two. In balanced accuracy all classes have equal weight. Bold and p values are after Holm's correction."
)


def refuse_divided(run: Run, what: str, instead: str) -> None:
    """Reject the run of a cross-validation if a run with a single split is needed.

    Args:
        run: The run.
        what: What needs a single split.
        instead: What to do.
    """
    if "folds" in run.data.tags:
        raise InputError(f"{what} needs runs on a fixed split, got the cross-validation {run.info.run_id}; {instead}")


@lru_cache(maxsize=1024)
def out_of_fold(run_id: str) -> CrossedPredictions:
    """Return which items a cross-validation's run classified correctly.

    Raises:
        MissingPredictions: If the run has no out-of-fold predictions, or was deleted.
    """
    try:
        return load_out_of_fold(run_id).crossed()
    except (InputError, MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise MissingPredictions(
            f"a cross-validation's run must have out-of-fold predictions to be compared, got run {run_id} without "
            f"{OUT_OF_FOLD} ({reason}); run it again"
        ) from None


def resampled_difference(first: str, second: str, *, balanced: bool = False) -> SeededDifference:
    """Return the score of the first run minus that of the second, fold by fold.

    Args:
        first: Run of a cross-validation.
        second: Another run, with the same folds.
        balanced: Whether all classes have equal weight.

    Raises:
        InputError: If a run has no predictions, or the two have different images or folds.
    """
    left, right = out_of_fold(first), out_of_fold(second)
    for name in ("item_ids", "labels", "folds"):
        if not np.array_equal(getattr(left, name), getattr(right, name)):
            raise InputError(
                f"compared cross-validations must have the same images and folds, got other {name} in runs {first} and "
                f"{second}; run both with the same folds, repeats and seed"
            )
    return cross_validated_difference(
        left.correct, right.correct, left.folds, classes=left.labels if balanced else None
    )


def compare_divided(run_ids: Sequence[str], *, balanced: bool = False) -> list[Pair]:
    """Return the differences of all pairs of runs, with p values adjusted by Holm over all of them.

    Raises:
        InputError: As ``resampled_difference``.
    """
    places = list(combinations(range(len(run_ids)), 2))
    found = [resampled_difference(run_ids[i], run_ids[j], balanced=balanced) for i, j in places]
    adjusted = holm([difference.p_value for difference in found])
    return [Pair(i, j, difference, p) for (i, j), difference, p in zip(places, found, adjusted, strict=True)]
