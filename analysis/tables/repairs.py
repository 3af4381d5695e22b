"""The gain from correcting a dataset: the same training before and after corrections, image by image."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import CONFIG, VARIANT, cross_validated, few_shot, score_rows
from analysis.intervals import HELD_OUT, PARTS
from analysis.schema import setting_of
from analysis.separation import TESTS, MissingPredictions, runs_by_seed, stored_predictions
from analysis.table import RUN_IDS, SEEDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import SeededDifference, difference_over_seeds, holm
from resnet_mlflow.tracking import Predictions

LABELS = ("dataset", "backbone", "head", "strategy")
CORRECTED = "corrected_from"
# Equal for runs that differ only in their seed and the corrections.
TRAINING = "training"


def repairs(frame: pd.DataFrame) -> Table | None:
    """Return the gain of each kind of training from corrections, on common test images, by corrected labels.

    Nothing if no run on corrected data has a counterpart from before the corrections.
    """
    whole = frame[~cross_validated(frame)]
    done = whole[whole["stage"].isin(["fit_head", "finetune"]) & (whole["status"] == "FINISHED")]
    done = done[done["seed"].notna() & done["dataset_digest"].notna()]
    done = done[~few_shot(done)].drop_duplicates(["setting", "seed"]).sort_values("seed", kind="stable")
    after = done[done[CORRECTED].notna()]
    if after.empty:
        return None
    done = done.assign(**{TRAINING: [_training(row) for _, row in done.iterrows()]})
    found = [row for _, group in done.loc[after.index].groupby("setting", sort=False) if (row := _row(group, done))]
    if not found:
        return None
    table = pd.DataFrame(found)
    table["p Holm"] = holm(table.pop("p").tolist())
    shown = [Column(name, name) for name in LABELS] + [Column(VARIANT, "parameters")] * bool(table[VARIANT].any())
    shown += [
        Column("before", "before, by its own labels", "score"),
        Column("before corrected", "before, by corrected labels", "score"),
        Column("after", "after", "score"),
        Column("gain", "gain", "difference"),
        Column("p Holm", "p (Holm)", "p_value"),
        Column("items", "test images", "count"),
    ]
    note = (
        "Gains compare scores under the corrected labels, on the test images that were not dropped, so they come from "
        "training alone. The difference between the first two columns is the change in score from correcting the test "
        "labels."
    )
    return Table(ROW.name, ROW.question, table, tuple(shown), (note, TESTS))


def _training(row: "pd.Series[Any]") -> str:
    """Return values that are equal for runs of the same training before and after corrections."""
    config = {str(name).removeprefix(CONFIG): str(row[name]) for name in row.index if str(name).startswith(CONFIG)}
    return setting_of(
        str(row["stage"]), {name: text for name, text in config.items() if name != "corrections"}, str(row["weights"])
    )


def _row(group: pd.DataFrame, done: pd.DataFrame) -> dict[str, Any]:
    """Return the row of a setting on corrected data; nothing if its counterpart from before is missing."""
    first = group.iloc[0]
    like = done[(done[TRAINING] == first[TRAINING]) & (done["dataset_digest"] == first[CORRECTED])]
    if like.empty:
        return {}
    row = score_rows(group, list(LABELS), ["test/accuracy"]).iloc[0]
    after, before = runs_by_seed(row), dict(zip(like["seed"].astype(int), like["run_id"], strict=True))
    seeds = sorted(set(after) & set(before))
    try:
        pairs = [_aligned(stored_predictions(before[seed]), stored_predictions(after[seed])) for seed in seeds]
    except MissingPredictions:
        return {}
    if not pairs or not pairs[0].shape[1]:
        return {}
    own = like[like["seed"].isin(seeds)]["test/accuracy"]
    gain = difference_over_seeds(*_stacked(pairs), held_out=float(row[HELD_OUT]))
    scores = {
        "before": float(own.mean()),
        "before corrected": float(np.mean([pair[1].mean() for pair in pairs])),
        "after": float(np.mean([pair[0].mean() for pair in pairs])),
    }
    runs = [before[seed] for seed in seeds] + [after[seed] for seed in seeds]
    named: dict[str, Any] = {name: row[name] for name in (*LABELS, VARIANT)}
    return named | scores | _gain_columns(gain) | {"items": float(pairs[0].shape[1]), SEEDS: seeds, RUN_IDS: runs}


def _stacked(pairs: Sequence[np.ndarray[Any, np.dtype[np.bool_]]]) -> tuple[Any, Any]:
    if len({pair.shape for pair in pairs}) > 1:
        raise InputError(
            "seeds must have the same test items, got different numbers of them; compare runs of one digest"
        )
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def _aligned(before: Predictions, after: Predictions) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which common images runs after and before classify correctly by the labels after, ``(2, n)``."""
    _, mine, theirs = np.intersect1d(after.item_ids, before.item_ids, return_indices=True)
    labels = after.labels[mine]
    return np.array([after.predictions[mine] == labels, before.predictions[theirs] == labels])


def _gain_columns(gain: SeededDifference) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "gain": gain.difference,
        "gain n": gain.n_seeds,
        "p": gain.p_value,
        "gain std": math.nan,
    }
    for part, name in PARTS.items():
        columns[f"gain{part} low"], columns[f"gain{part} high"] = getattr(gain, name)
    return columns


ROW = TableRow(
    "repairs",
    "What did correcting the dataset gain?",
    needs="finished runs of fit_head or finetune with corrections and without",
    build=repairs,
    chart=lambda table: None,
    over_datasets=True,
)
