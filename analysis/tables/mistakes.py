"""Which test images the best classifier gets most wrong."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from analysis.cells import best_by_validation
from analysis.separation import check_same_items, stored_predictions
from analysis.table import RUN_IDS, SEEDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import Predictions, load_thumbnails

LABELS = ("backbone", "head", "strategy")
N_SHOWN = 20
COLUMNS = (
    Column("file", "file"),
    Column("thumbnail", "image", "image"),
    Column("group", "group"),
    Column("label", "label"),
    Column("prediction", "prediction"),
    Column("lead", "p(predicted) - p(true)", "score"),
    Column("wrong", "seeds wrong", "count"),
)


def mistakes(frame: pd.DataFrame) -> Table | None:
    """Return the worst mistakes of the classifier that is best on validation data, over its seeds.

    Raises:
        InputError: If one of its runs has no predictions, or its seeds were tested on different items.
    """
    best = best_by_validation(frame, LABELS)
    if best is None:
        return None
    predictions = [stored_predictions(run_id) for run_id in best[RUN_IDS]]
    first = predictions[0]
    check_same_items(predictions)
    leads = np.mean([_leads(one) for one in predictions], axis=0)
    wrong = np.sum([~one.correct for one in predictions], axis=0)
    # A mistake of any seed counts: first those of most seeds, then those with the largest leads.
    rows = np.flatnonzero(wrong > 0)
    rows = rows[np.lexsort((-leads[rows], -wrong[rows]))][:N_SHOWN]
    thumbnails = _thumbnails(best[RUN_IDS])
    table = pd.DataFrame(
        {
            "file": [first.paths[row] or first.item_ids[row] for row in rows],
            "thumbnail": [thumbnails.get(first.item_ids[row], "") for row in rows],
            "group": first.known["group"][rows] if "group" in first.known else "",
            "label": first.labels[rows],
            "prediction": [_usual(predictions, row) for row in rows],
            "lead": leads[rows],
            "wrong": wrong[rows],
        }
    )
    table[RUN_IDS] = [best[RUN_IDS]] * len(table)
    columns = [
        column for column in COLUMNS if column.name not in ("group", "thumbnail") or (table[column.name] != "").any()
    ]
    return Table(ROW.name, ROW.question, table, tuple(columns), tuple(_notes(best, int((wrong > 0).sum()), len(rows))))


def _leads(one: Predictions) -> "np.ndarray[Any, Any]":
    """Return by how much the probability of the prediction exceeds that of the label; 0 if it is correct."""
    column = {name: index for index, name in enumerate(one.class_names)}
    places = np.arange(len(one.labels))
    of_prediction, of_label = (
        one.scores[places, [column[name] for name in names.tolist()]] for names in (one.predictions, one.labels)
    )
    return np.asarray(of_prediction - of_label, dtype=np.float64)


def _usual(predictions: Sequence[Predictions], row: Any) -> str:
    """Return the most common wrong prediction of an item over seeds."""
    said = [str(one.predictions[row]) for one in predictions if not one.correct[row]]
    return max(said, key=said.count)


def _thumbnails(run_ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for run_id in run_ids:
        with suppress(InputError, MlflowException, OSError):  # from an earlier version, or deleted: no images
            found |= load_thumbnails(run_id)
    return found


def _notes(best: "pd.Series[Any]", n_wrong: int, n_shown: int) -> list[str]:
    seeds = f"seed{'s' * (len(best[SEEDS]) > 1)} {', '.join(map(str, best[SEEDS]))}"
    name = " ".join(str(best[name]) for name in LABELS)
    return [
        f"{name}, the best by validation accuracy ({best['val/accuracy']:.4f}); {seeds}.",
        f"{n_shown} of {n_wrong} test images that at least one seed got wrong: first those that most seeds got wrong, "
        f"then those whose predicted class is furthest above the true class in mean probability. Paths are relative "
        f"to the dataset's folder; images that are not files are named by the digest of their content.",
    ]


ROW = TableRow(
    "mistakes",
    "Which test images does the best classifier get most wrong?",
    needs="finished runs of fit_head or finetune with mistakes",
    build=mistakes,
    chart=lambda table: None,
)
