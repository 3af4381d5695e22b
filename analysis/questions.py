"""From cells to a table: rows, order, winners, and the notes needed to read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from analysis.best import COST, best_note
from analysis.cells import VARIANT, score_rows
from analysis.gains import GAIN, P_HOLM, Baseline, Gains, doubts_about_gains, gains_over, with_gains
from analysis.intervals import HELD_OUT, with_predictions
from analysis.separation import TESTED, TESTS, MissingPredictions, compare_all_pairs, runs_by_seed, winner_of
from analysis.table import SEEDS, Column, Doubt, Table
from resnet_mlflow.statistics import Pair, needed

ORDERED_BY = "val/accuracy"
ACCURACY = "test/accuracy"
GAIN_COLUMNS = (Column(GAIN, "gain", "difference"), Column(P_HOLM, "p (Holm)", "p_value"))
SCORES = (
    Column("val/accuracy", "val accuracy", "score"),
    Column("test/accuracy", "test accuracy", "score"),
    Column("test/balanced_accuracy", "test balanced accuracy", "score"),
    Column("test/nll", "test NLL", "number"),
    Column("test/ece", "test ECE", "score"),
)


@dataclass(frozen=True)
class Question:
    """The question that a table of scores answers.

    Attributes:
        name: Name of the table.
        title: The question.
        labels: Columns that name a row.
        within: Labels that are equal for rows that compete with each other; empty means that all rows compete.
        scores: Metrics shown.
        ordered_by: Validation metric that orders rows.
        notes: Further notes.
        baseline: Returns the row that a row's gain is measured against; None for a table without gains.
        balanced: Whether gains are in balanced accuracy instead of accuracy.
    """

    name: str
    title: str
    labels: tuple[Column, ...]
    within: tuple[str, ...] = ()
    scores: tuple[Column, ...] = SCORES
    ordered_by: str = ORDERED_BY
    notes: tuple[str, ...] = ()
    baseline: Baseline | None = None
    balanced: bool = False


def answer(question: Question, cells: pd.DataFrame) -> Table | None:
    """Return the table of a question, or nothing if there are no cells.

    Args:
        question: The question.
        cells: Finished cells of one dataset.
    """
    if cells.empty:
        return None
    labels = [column.name for column in question.labels]
    scores = [column.name for column in question.scores]
    frame = with_predictions(score_rows(cells, labels, [*scores, *({COST} - set(scores))]))
    frame = _ordered(frame, question)
    gains = None if question.baseline is None else gains_over(frame, question.baseline, balanced=question.balanced)
    found = separate(frame, question.within, scores, gains)
    remarks, doubts, columns = found.notes, found.doubts, question.scores
    if gains is not None:
        # A table with gains makes claims about these, not about the lead of its best row.
        doubts = tuple(doubts_about_gains(frame, gains))
        frame, remarks, columns = with_gains(frame, gains), (*remarks, *gains.notes), (*columns, *GAIN_COLUMNS)
    shown = [*question.labels]
    if (frame[VARIANT] != "").any():
        shown.append(Column(VARIANT, "parameters"))
    compared = [TESTS] if remarks or found.winners or gains is not None else []
    notes = (*context_notes(cells), *seed_notes(frame), *remarks, *compared, *question.notes)
    return Table(question.name, question.title, frame, (*shown, *columns), notes, found.winners, doubts, found.pairs)


def _ordered(frame: pd.DataFrame, question: Question) -> pd.DataFrame:
    frame = frame.sort_values(question.ordered_by, ascending=False, kind="stable")
    if question.within:
        best = frame.groupby(list(question.within), sort=False)[question.ordered_by].transform("max")
        # Groups are ordered by their best rows, then by name, so that equal scores do not mix groups.
        frame = frame.assign(best=best).sort_values(["best", *question.within], ascending=False, kind="stable")
    return frame.drop(columns="best", errors="ignore").reset_index(drop=True)


@dataclass(frozen=True)
class Separation:
    """Which rows of a table differ significantly.

    Attributes:
        winners: (row position, column name) of the scores that are significantly better than all their competitors.
        notes: How to interpret the others.
        doubts: Differences of best rows that may be due to chance.
        pairs: Differences in test accuracy between competing rows, by their positions.
    """

    winners: frozenset[tuple[int, str]]
    notes: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    pairs: tuple[Pair, ...]


def separate(
    frame: pd.DataFrame, within: Sequence[str], scores: Sequence[str], gains: Gains | None = None
) -> Separation:
    """Return which scores of a table are significantly better than all their competitors, and notes on the others.

    Args:
        frame: Rows with ``seeds`` and ``run_ids``.
        within: Columns that are equal for rows that compete; empty means that all rows compete.
        scores: Columns shown; those that can be recomputed from stored predictions are tested.
        gains: The table's gains over baselines: a comparison has one p value, and bold uses the same.
    """
    winners: set[tuple[int, str]] = set()
    notes: list[str] = []
    doubts: list[Doubt] = []
    compared: list[Pair] = []
    for place, rows in competing(frame, within):
        for metric in (name for name in TESTED if name in scores):
            held_out = float(frame[HELD_OUT].iloc[rows].max())
            need = partial(needed, held_out=held_out)
            runs = [runs_by_seed(frame.iloc[row]) for row in rows]
            try:
                pairs = compare_all_pairs(runs, balanced=TESTED[metric], held_out=held_out)
                shown = {(pair.first, pair.second): _shown_p(pair, rows, metric, gains) for pair in pairs}
                # If the lead is a gain over a baseline, the gain must be significant as well.
                pairs = [
                    replace(pair, adjusted_p=max(pair.adjusted_p, shown[pair.first, pair.second])) for pair in pairs
                ]
            except MissingPredictions as error:
                notes.append(f"{place}{'nothing' if place else 'Nothing'} is bold: {error}.")
                break
            if metric == ACCURACY:
                compared += [replace(pair, first=rows[pair.first], second=rows[pair.second]) for pair in pairs]
            winner = winner_of(len(rows), pairs)
            if winner is not None:
                winners.add((rows[winner], metric))
            elif metric == next(name for name in TESTED if name in scores):
                for note, doubt in filter(None, [best_note(place, frame, rows, pairs, metric, shown, need)]):
                    notes.append(note)
                    doubts.append(doubt)
    return Separation(frozenset(winners), tuple(notes), tuple(doubts), tuple(compared))


def _shown_p(pair: Pair, rows: Sequence[int], metric: str, gains: Gains | None) -> float:
    """Return the p value that the table shows for a pair: that of the gain if it is one, else that over all pairs."""
    p = None if gains is None else gains.p_of(rows[pair.first], rows[pair.second], metric)
    return pair.adjusted_p if p is None else p


def competing(frame: pd.DataFrame, within: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the groups of positions of competing rows, each with the name of the group in words."""
    if not within:
        yield "", list(range(len(frame)))
        return
    for key, rows in frame.groupby(list(within), sort=False).indices.items():
        names = key if isinstance(key, tuple) else (key,)
        yield f"{' '.join(str(name) for name in names if str(name))}: ", [int(row) for row in rows]


def context_notes(cells: pd.DataFrame) -> list[str]:
    """Return which data and weights the cells are based on."""
    first = cells.iloc[0]
    weights = ", ".join(sorted(cells["weights"].dropna().unique()))
    return [f"Dataset {first['dataset']} (digest {str(first['dataset_digest'])[:12]}); backbone weights: {weights}."]


def seed_notes(frame: pd.DataFrame) -> list[str]:
    """Return notes on the seeds behind the rows' means, what their intervals cover, and which rows lack seeds."""
    wanted = sorted({seed for seeds in frame[SEEDS] for seed in seeds})
    if len(wanted) == 1:
        return [
            f"One seed ({wanted[0]}): 95 % intervals cover other test images (modified Wilson; for balanced accuracy "
            f"and macro-F1 with effective numbers of images) and say nothing about other seeds."
        ]
    overlap = float(frame[HELD_OUT].max())
    factor = f", x (1/n + {overlap:.3g}) for shared training images (Nadeau and Bengio)" if overlap else ""
    notes = [
        f"Mean ± sample standard deviation over seeds {', '.join(map(str, wanted))}. 95 % intervals of test "
        f"accuracies cover both other seeds (Student's t{factor}) and other test images (modified Wilson); those of "
        f"validation scores, NLL and ECE cover other seeds. The CSV contains both parts; on the page, hover over an "
        f"interval to see them."
    ]
    lacking = [len(seeds) for seeds in frame[SEEDS] if len(seeds) < len(wanted)]
    if lacking:
        notes.append(
            f"{len(lacking)} rows lack seeds, so their n is lower; pairs are compared on the seeds that both have."
        )
    if same := _repeating(frame):
        notes.append(f"{same} rows give identical results with several seeds; these count as one seed.")
    return notes


def _repeating(frame: pd.DataFrame) -> int:
    counted = [str(name) for name in frame if str(name).endswith("/accuracy n")][:1]
    return sum(0 < row[name] < len(row[SEEDS]) for name in counted for _, row in frame.iterrows())
