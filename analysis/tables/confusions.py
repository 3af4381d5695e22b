"""Which classes the best classifier confuses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import best_by_validation
from analysis.charts import HeatMap
from analysis.table import RUN_IDS, SEEDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import ConfusionMatrix, load_confusion_matrix

LABELS = ("backbone", "head", "strategy")
# If there are more classes, only those with the most errors are shown: a matrix of 100 classes is unreadable.
MOST_CLASSES = 20
REST = "other classes"


def confusions(frame: pd.DataFrame) -> Table | None:
    """Return the confusion matrix of the classifier that is best on validation data: labels down, predictions across.

    Counts of test items are summed over its seeds. If there are more than 20 classes, those with the most errors are
    shown.

    Raises:
        InputError: If one of its runs has no confusion matrix, or its seeds have different classes.
    """
    best = best_by_validation(frame, LABELS)
    if best is None:
        return None
    matrix = _summed([load_confusion_matrix(run_id) for run_id in best[RUN_IDS]])
    shown = _most_confused(matrix.counts)
    names = [matrix.class_names[label] for label in shown]
    columns = [Column("label", "label")]
    columns += [Column(f"predicted {name}", name, "count") for name in names]
    counts = matrix.counts[np.ix_(shown, shown)]
    if len(shown) < len(matrix.class_names):
        rest = matrix.counts[shown].sum(axis=1) - counts.sum(axis=1)
        counts = np.column_stack([counts, rest])
        columns.append(Column(f"predicted {REST}", REST, "count"))
    table = pd.DataFrame(counts, columns=[column.name for column in columns[1:]])
    table.insert(0, "label", names)
    table[RUN_IDS] = [best[RUN_IDS]] * len(table)
    return Table(ROW.name, ROW.question, table, tuple(columns), tuple(_notes(best, matrix, len(shown))))


def _summed(matrices: Sequence[ConfusionMatrix]) -> ConfusionMatrix:
    names = matrices[0].class_names
    if any(matrix.class_names != names for matrix in matrices):
        raise InputError("the seeds of the best run must have the same classes, got different ones; filter by dataset")
    return ConfusionMatrix(names, np.sum([matrix.counts for matrix in matrices], axis=0))


def _most_confused(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes to show, in their order: those with the most errors, as label or prediction."""
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diagonal(counts)
    return np.sort(np.argsort(-errors, kind="stable")[:MOST_CLASSES])


def _notes(best: "pd.Series[Any]", matrix: ConfusionMatrix, n_shown: int) -> list[str]:
    seeds = ", ".join(map(str, best[SEEDS]))
    name = " ".join(str(best[name]) for name in LABELS)
    notes = [
        f"{name}, the best by validation accuracy ({best['val/accuracy']:.4f}). Rows are true classes, columns "
        f"predicted classes; {matrix.counts.sum():,} test items, summed over seed{'s' * (len(best[SEEDS]) > 1)} "
        f"{seeds}."
    ]
    if n_shown < len(matrix.class_names):
        notes.append(f"The {n_shown} of {len(matrix.class_names)} classes with the most errors are shown.")
    return notes


def _shares_chart(table: Table) -> HeatMap:
    """Return a chart of the shares of each label's items that were predicted as each class, as a grid."""
    columns = table.columns[1:]
    counts = table.frame[[column.name for column in columns]].to_numpy(dtype=np.float64)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
    names = tuple(map(str, table.frame["label"]))
    predicted = tuple(column.header for column in columns)
    scores = tuple(map(tuple, shares.tolist()))
    return HeatMap(
        table.title,
        "share of the true class",
        names,
        predicted,
        scores,
        x_axis="predicted class",
        y_axis="true class",
    )


ROW = TableRow(
    "confusions",
    "Which classes does the best classifier confuse?",
    needs="finished runs of fit_head or finetune",
    build=confusions,
    chart=_shares_chart,
)
