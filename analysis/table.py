"""A comparison table: numbers with their uncertainty and the runs behind them, and how each column is shown."""

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
    """A column as it is shown.

    A ``score`` or ``difference`` named ``x`` is a mean; the frame may hold its ``x std`` and ``x n`` over seeds, and
    the ends ``x low`` and ``x high`` of its 95 % interval. An ``image`` is a JPEG file in
    base64, which only pages show.

    Attributes:
        name: Column of the frame.
        header: What stands above it.
        kind: Decides format and alignment.
    """

    name: str
    header: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Doubt:
    """A difference that a table shows and that is not significant.

    Attributes:
        claim: What is said to be better than what.
        difference: By how much, above 0.
        n_items: Test images there are.
        n_needed: Test images that would tell; NaN where no number of them would.
    """

    claim: str
    difference: float
    n_items: int
    n_needed: float


@dataclass(frozen=True, repr=False)
class Table:
    """The answer to one question.

    Attributes:
        name: What files and the command line call it.
        title: The question.
        frame: One row per thing compared, in the order shown; values are numbers, not text. ``run_ids`` holds the
            list of runs behind each row.
        columns: What is shown, from left to right.
        notes: What a reader must know, and what is missing or unfair.
        winners: (row position, column name) of the scores shown in bold: those separated from every other.
        doubts: Differences of best rows and gains that chance may have made.
        pairs: Differences in test accuracy, or in that over folds, of rows that compete, by their positions.
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
