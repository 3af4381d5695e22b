"""From cells to a table: rows, order, winners and what must be known to read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.cells import SEEDS, VARIANT, score_rows
from analysis.separation import TESTED, MissingPredictions, Pair, compare_all_pairs, winner_of
from analysis.table import RUN_IDS, Column, Table

ORDERED_BY = "val/accuracy"
SCORES = (
    Column("val/accuracy", "val accuracy", "score"),
    Column("test/accuracy", "test accuracy", "score"),
    Column("test/balanced_accuracy", "test balanced accuracy", "score"),
    Column("test/nll", "test NLL", "number"),
    Column("test/ece", "test ECE", "score"),
)


@dataclass(frozen=True)
class Question:
    """What a table of scores asks.

    Attributes:
        name: Name of the table.
        title: The question.
        labels: Columns that name a row.
        within: Those of the labels whose rows compete with each other; empty means all rows do.
        scores: Metrics shown.
        ordered_by: Validation metric that orders rows.
        notes: Further notes.
    """

    name: str
    title: str
    labels: tuple[Column, ...]
    within: tuple[str, ...] = ()
    scores: tuple[Column, ...] = SCORES
    ordered_by: str = ORDERED_BY
    notes: tuple[str, ...] = ()


def answer(question: Question, cells: pd.DataFrame) -> Table | None:
    """Return the table of a question, or nothing where there are no cells.

    Args:
        question: What is asked.
        cells: Finished cells of one dataset.
    """
    if cells.empty:
        return None
    labels = [column.name for column in question.labels]
    frame = score_rows(cells, labels, [column.name for column in question.scores])
    frame = _ordered(frame, question)
    winners, told = separate(frame, question.within, [column.name for column in question.scores])
    shown = [*question.labels]
    if (frame[VARIANT] != "").any():
        shown.append(Column(VARIANT, "parameters"))
    notes = (*context_notes(cells), *seed_notes(frame), *told, *question.notes)
    return Table(question.name, question.title, frame, (*shown, *question.scores), notes, winners)


def _ordered(frame: pd.DataFrame, question: Question) -> pd.DataFrame:
    frame = frame.sort_values(question.ordered_by, ascending=False, kind="stable")
    if question.within:
        best = frame.groupby(list(question.within), sort=False)[question.ordered_by].transform("max")
        # Groups in the order of their best row, and names where two are equal, so that groups stay whole.
        frame = frame.assign(best=best).sort_values(["best", *question.within], ascending=False, kind="stable")
    return frame.drop(columns="best", errors="ignore").reset_index(drop=True)


def separate(
    frame: pd.DataFrame, within: Sequence[str], scores: Sequence[str]
) -> tuple[frozenset[tuple[int, str]], list[str]]:
    """Return the scores of a table that are told apart from all they compete with, and notes on those that are not.

    Args:
        frame: Rows with ``seeds`` and ``run_ids``.
        within: Columns whose equal values make rows compete; empty means all rows do.
        scores: Columns shown; those that stored predictions can give anew are tested.
    """
    winners: set[tuple[int, str]] = set()
    notes: list[str] = []
    for place, rows in competing(frame, within):
        for metric in (name for name in TESTED if name in scores):
            try:
                pairs = compare_all_pairs([runs_by_seed(frame.iloc[row]) for row in rows], balanced=TESTED[metric])
            except MissingPredictions as error:
                notes.append(f"{place}nothing is bold, since {error}.")
                break
            winner = winner_of(len(rows), pairs)
            if winner is not None:
                winners.add((rows[winner], metric))
            elif metric == "test/accuracy":
                notes += _not_told_apart(place, frame, rows, pairs)
    return frozenset(winners), notes


def competing(frame: pd.DataFrame, within: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the groups of row positions that compete, each with the words that name the group."""
    if not within:
        yield "", list(range(len(frame)))
        return
    for key, rows in frame.groupby(list(within), sort=False).indices.items():
        names = key if isinstance(key, tuple) else (key,)
        yield f"{' '.join(str(name) for name in names if str(name))}: ", [int(row) for row in rows]


def runs_by_seed(row: "pd.Series[Any]") -> Mapping[int, str]:
    """Return the run of each seed behind a row."""
    return dict(zip(row[SEEDS], row[RUN_IDS], strict=True))


def _not_told_apart(place: str, frame: pd.DataFrame, rows: Sequence[int], pairs: Sequence[Pair]) -> list[str]:
    if len(rows) < 2:
        return []
    best = max(range(len(rows)), key=lambda i: frame["test/accuracy"].iloc[rows[i]])
    open_pairs = [pair for pair in pairs if best in (pair.first, pair.second) and not pair.separated]
    if not open_pairs:
        return []
    close = min(open_pairs, key=lambda pair: abs(pair.difference.difference))
    low, high = close.difference.interval
    return [
        f"{place}the best test accuracy is not told apart from {len(open_pairs)} of {len(rows) - 1} others (closest "
        f"difference {close.difference.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, Holm p "
        f"{close.adjusted_p:.2g})."
    ]


def context_notes(cells: pd.DataFrame) -> list[str]:
    """Return which data and weights the cells stand on."""
    first = cells.iloc[0]
    weights = ", ".join(sorted(cells["weights"].dropna().unique()))
    return [f"Dataset {first['dataset']} (digest {str(first['dataset_digest'])[:12]}); backbone weights: {weights}."]


def seed_notes(frame: pd.DataFrame) -> list[str]:
    """Return over which seeds the rows' means are, and which rows lack some."""
    wanted = sorted({seed for seeds in frame[SEEDS] for seed in seeds})
    if len(wanted) == 1:
        return [f"One seed ({wanted[0]}): intervals are over test items, and say nothing about other seeds."]
    notes = [f"Mean ± sample standard deviation over seeds {', '.join(map(str, wanted))}; 95 % t intervals."]
    lacking = [len(seeds) for seeds in frame[SEEDS] if len(seeds) < len(wanted)]
    if lacking:
        notes.append(f"{len(lacking)} rows lack seeds: their n is lower; pairs are compared on the seeds both have.")
    return notes
