"""Table columns that define slices, and the logging of slice scores."""

import logging
import re
from functools import lru_cache

from resnet_mlflow.csv_text import csv_of
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.evaluation.scores import Evaluation
from resnet_mlflow.evaluation.slices import SliceScore, SliceScores, score_slices
from resnet_mlflow.stages.items import Items
from resnet_mlflow.tracking import StageRun, TrackedDataset

logger = logging.getLogger(__name__)

# Number of values that a column of slices may have in the test split.
FEWEST, MOST = 2, 20
MOST_CHARACTERS = 60
SHOWN = 3


@lru_cache(maxsize=8)
def slice_columns(dataset: ImageDataset, group_by: str = "") -> tuple[str, ...]:
    """Return the columns whose values divide the test split into 2 to 20 slices, without the column of groups."""
    columns = dataset.splits["test"].columns if "test" in dataset.splits else {}
    n_values = {name: len(set(values) - {""}) for name, values in columns.items() if name != group_by.lower()}
    if many := [f"{name} ({n})" for name, n in n_values.items() if n > MOST]:
        logger.info(
            "%s: columns with more than %d values are not used as slices: %s", dataset.name, MOST, ", ".join(many)
        )
    return tuple(name for name, n in n_values.items() if FEWEST <= n <= MOST)


def log_slices(
    run: StageRun, evaluation: Evaluation, items: Items, tracked: TrackedDataset, model_id: str, step: int
) -> SliceScores | None:
    """Log the accuracy of each slice, the worst slice, and the p values for differences; return them.

    Args:
        run: The active run.
        evaluation: Evaluation of the items.
        items: The items with their slices.
        tracked: The items as a dataset, for linking metrics.
        model_id: ID of the evaluated model.
        step: Step of the metrics.
    """
    found = score_slices(evaluation.labels == evaluation.predictions, items.slices)
    if found is None:
        return None
    metrics: dict[str, float] = {}
    for one in found.scores:
        name = f"{items.split}/slice/{_word(one.column)}/{_word(one.value)}"
        metrics |= {f"{name}/accuracy": one.accuracy, f"{name}/n": one.n}
        metrics |= {f"{name}/accuracy_ci_low": one.low, f"{name}/accuracy_ci_high": one.high}
    metrics |= {f"{items.split}/slice/{_word(name)}/p_value": p for name, p in found.p_values.items()}
    metrics[f"{items.split}/slice_worst_accuracy"] = found.worst.accuracy
    run.log_metrics(metrics, step=step, dataset=tracked, model_id=model_id)
    run.set_tags({"worst_slice": found.worst.name, "slices": ",".join(found.p_values)})
    with run.artifacts() as folder:
        place = folder / "evaluation" / items.split
        place.mkdir(parents=True)
        (place / "slices.csv").write_text(csv_of(found.frame()), encoding="utf-8")
    logger.info("worst slice: %s", _describe(found.worst))
    return found


def slice_remarks(found: SliceScores | None) -> list[str]:
    """Return remarks on slices for a run's note."""
    if found is None:
        return []
    lines = [f"Worst slice: {_describe(found.worst)}."]
    for column, p in found.p_values.items():
        verdict = "differ" if p <= 0.05 else "do not differ significantly"
        lines.append(f"Slices of {column} {verdict} (p {p:.3g} after Holm).")
    return [" ".join(lines)]


def _describe(one: SliceScore) -> str:
    return f"{one.name}, accuracy {one.accuracy:.4f} ({one.low:.4f} to {one.high:.4f}, {one.n} images)"


def _word(text: str) -> str:
    """Return a text as part of a metric's name, which MLflow treats as part of a path."""
    return re.sub(r"[^\w. -]+", "_", text)[:MOST_CHARACTERS].strip(". ") or "_"
