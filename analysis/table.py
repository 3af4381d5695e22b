"""A comparison table: numbers with their uncertainty and the runs behind them, and the format of each column."""

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from resnet_mlflow.statistics import Pair

Kind = Literal["text", "score", "difference", "p_value", "seconds", "count", "number", "image"]

RUN_IDS = "run_ids"
# Seeds behind a row, in the order of its runs.
SEEDS = "seeds"


@dataclass(frozen=True)
class Column:
    """A column and its format.

    A ``score`` or ``difference`` named ``x`` is a mean; the frame may contain its ``x std`` and ``x n`` over seeds, and
    the ends ``x low`` and ``x high`` of its 95 % interval. An ``image`` is a JPEG file in base64, which is shown only
    in HTML.

    Attributes:
        name: Column of the frame.
        header: Header text.
        kind: Determines format and alignment.
    """

    name: str
    header: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Doubt:
    """A difference in a table that is not significant.

    Attributes:
        claim: What is better than what, according to the table.
        difference: By how much, above 0.
        n_items: Number of test images.
        n_needed: Number of test images that would make it significant; NaN if no number would.
    """

    claim: str
    difference: float
    n_items: int
    n_needed: float


@dataclass(frozen=True, repr=False)
class Table:
    """The answer to one question.

    Attributes:
        name: Its name in files and on the command line.
        title: The question.
        frame: One row per thing compared, in the order shown; values are numbers, not text. ``run_ids`` is the
            list of runs behind each row.
        columns: The columns shown, from left to right.
        notes: What a reader must know, and what is missing or unfair.
        winners: (row position, column name) of the scores in bold: those significantly better than all others.
        doubts: Differences of best rows, and gains, that may be due to chance.
        pairs: Differences in accuracy, on test or over folds, between competing rows, by their positions.
    """

    name: str
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    winners: frozenset[tuple[int, str]] = field(default_factory=frozenset)
    doubts: tuple[Doubt, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def __repr__(self) -> str:
        # A notebook shows what a cell returns, which the fields with all their numbers would fill.
        return f"Table({self.name!r}, {len(self.frame)} rows, {len(self.columns)} columns)"
