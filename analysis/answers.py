"""A report's answers: a few sentences based on the tables' numbers, even if these show no difference."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.best import cheapest, out_of
from analysis.cells import VARIANT
from analysis.gains import GAIN, P_HOLM
from analysis.table import RUN_IDS, Table

MOST = 5
LEVEL = 0.05
# The trained layers, in words.
LAYERS = {"all": "all layers", "fc": "only the last layer"}


@dataclass(frozen=True)
class Answer:
    """A sentence or two, and the table that they are based on.

    Attributes:
        text: The sentences.
        table: Name of the table.
    """

    text: str
    table: str


def answers_of(tables: Sequence[Table], places: Mapping[str, str] | None = None) -> list[Answer]:
    """Return the answers that the tables of a report give, at most ``MOST``.

    Args:
        tables: The tables of the report.
        places: The dataset of each table, by the name of the table, if there are several datasets. Each dataset then
            gets only the answer to its first question.
    """
    places = places or {}
    if not places:
        found = _answers({table.name: table for table in tables})
        return [answer for answer in found if answer is not None][:MOST]
    answers: list[Answer] = []
    for place in dict.fromkeys(places.values()):
        own = {table.name.split("-")[0]: table for table in tables if places.get(table.name) == place}
        if (first := next(filter(None, _answers(own)), None)) is not None:
            answers.append(Answer(f"{place}: {first.text}", first.table))
    return answers[:MOST]


def _answers(tables: Mapping[str, Table]) -> Iterator[Answer | None]:
    for name, sentence in SENTENCES.items():
        table = tables.get(name)
        if table is not None and len(table.frame):
            text = sentence(table, tables)
            yield Answer(text, table.name) if text else None


def _best(table: Table, tables: Mapping[str, Table]) -> str:
    rows = table.frame
    score = _score(rows.iloc[0], "test/accuracy")
    first = f"Use {name_of(rows.iloc[0])}: it is the best on validation data, with a test accuracy of {score}."
    return _beside_rivals(first, table, 0, len(rows) - 1, "test/accuracy")


def _beside_rivals(first: str, table: Table, place: int, n_others: int, accuracy: str) -> str:
    """Return a sentence on a row, extended by the result of its comparison with others.

    Args:
        first: The sentence.
        table: The table, with the differences between its rows.
        place: Position of the row.
        n_others: How many rows compete with it.
        accuracy: The score to show for a competing row.
    """
    rows, pairs = table.frame, [pair for pair in table.pairs if place in (pair.first, pair.second)]
    if not n_others:
        return f"{first} Nothing else was run to compare it with."
    open_to = [pair.first + pair.second - place for pair in pairs if not pair.separated]
    if not pairs:
        return f"{first} Its {n_others} rivals were not tested against it."
    if not open_to:
        return f"{first} It differs significantly from each of the others."
    message = f"{first} On these data it is not significantly better than {out_of(len(open_to), n_others)}"
    least, why = cheapest(rows, [place, *open_to])
    rival = rows.iloc[open_to[0] if least == place else least]
    shown = f"{name_of(rival)} with {rival[accuracy]:.3f}"
    cost = f" ({why})" if why else ""
    if len(open_to) == 1:
        return f"{message}: {shown} {'is not cheaper' if least == place else f'is cheaper{cost}'}."
    return f"{message}; " + (
        "none of these is cheaper." if least == place else f"the cheapest of these is {shown}{cost}."
    )


def _fine_tuning(table: Table, tables: Mapping[str, Table]) -> str:
    rows = table.frame[table.frame[GAIN].notna() & (table.frame["strategy"] != "frozen")]
    deep = rows[rows["strategy"] != "fc"]
    rows = deep if len(deep) else rows
    if rows.empty:
        return ""
    row = _highest(rows, "val/accuracy")
    frozen = table.frame[(table.frame["backbone"] == row["backbone"]) & (table.frame["strategy"] == "frozen")]
    layers = LAYERS.get(row["strategy"], str(row["strategy"]))
    ratio = float(row["time/fit_s"]) / float(frozen["time/fit_s"].min())
    longer = f"; fitting takes {_times(ratio)} as long" if math.isfinite(ratio) else ""
    rival = "a linear head on its frozen features"
    if _is_significant(row):
        return f"Training {layers} of {row['backbone']} {_verb(row)} {_gain(row)} over {rival}{longer}."
    return f"The data do not show whether training {layers} of {row['backbone']} beats {rival}: {_gain(row)}{longer}."


def _long_tail(table: Table, tables: Mapping[str, Table]) -> str:
    rows = table.frame[table.frame[GAIN].notna()]
    if rows.empty:
        return ""
    row = _highest(rows, "val/balanced_accuracy")
    remedy = f"{row['method']} ({row['head']} on {row['backbone']}), the best method on validation data"
    if _is_significant(row):
        gain = f"{_verb(row)} {_gain(row)} of balanced accuracy compared with the baseline none"
        return f"On a long tail ({row['profile']}) {remedy}, {gain}."
    return (
        f"The data do not show whether {remedy}, beats the baseline none on a long tail ({row['profile']}): "
        f"{_gain(row)} of balanced "
        "accuracy."
    )


def _corruption(table: Table, tables: Mapping[str, Table]) -> str:
    columns = {column.header: column.name for column in table.columns}
    if not {"clean", "strong"} <= columns.keys():
        return ""
    row = _tested_best(table, tables)
    text = (
        f"Under strong corruption, the accuracy of {name_of(row)} falls from {row[columns['clean']]:.3f} to "
        f"{_score(row, columns['strong'])}"
    )
    families = tables.get("robustness_families")
    if families is None:
        return f"{text}."
    same = families.frame[[list(ids) == list(row[RUN_IDS]) for ids in families.frame[RUN_IDS]]]
    named = {c.header: c.name for c in families.columns if c.kind == "score" and c.header not in ("clean", "mean")}
    worst = {header: float(same[name].iloc[0]) for header, name in named.items()} if len(same) else {}
    worst = {header: value for header, value in worst.items() if not math.isnan(value)}
    if len(worst) < 2:
        return f"{text}."
    family = min(worst, key=lambda header: worst[header])
    return f"{text}; {family} corruptions hurt most ({worst[family]:.3f} on average)."


def _tested_best(table: Table, tables: Mapping[str, Table]) -> "pd.Series[Any]":
    """Return the row of the leaderboard's best classifier, or the first row if it was not tested."""
    board = tables.get("leaderboard")
    labels = [name for name in ("backbone", "head", "strategy") if name in table.frame]
    if board is not None:
        for _, best in board.frame.iterrows():
            same = table.frame
            for name in labels:
                same = same[same[name] == best[name]]
            if len(same):
                return same.iloc[0]
    return table.frame.iloc[0]


def _folds(table: Table, tables: Mapping[str, Table]) -> str:
    if "leaderboard" in tables:
        return ""
    rows = table.frame
    # Rows are grouped by what they compete on, the best of each group first; the largest group says most.
    sizes = rows.groupby(["division", "training"], sort=False)["division"].transform("size").to_numpy()
    place = int(sizes.argmax())
    row, score = rows.iloc[place], _score(rows.iloc[place], "cv_accuracy")
    first = f"In cross-validation, {name_of(row)} is the best on validation data, with an accuracy of {score}."
    return _beside_rivals(first, table, place, int(sizes[place]) - 1, "cv_accuracy")


def name_of(row: "pd.Series[Any]") -> str:
    """Return the name of a row's classifier, in words.

    Example:
        >>> row = {"backbone": "resnet18", "head": "svm", "strategy": "frozen", "variant": "n_trials=15"}
        >>> name_of(pd.Series(row)), name_of(pd.Series(row | {"strategy": "all", "variant": ""}))
        ('svm on frozen resnet18 (n_trials=15)', 'resnet18 with all layers trained')
    """
    strategy, head = str(row.get("strategy", "frozen")), str(row.get("head", "") or "a head")
    backbone, method = row.get("backbone", "the backbone"), str(row.get("method", "") or "")
    if strategy == "frozen":
        name = f"{head} on frozen {backbone}"
    else:
        name = f"{backbone} with {LAYERS.get(strategy, strategy)} trained"
    more = ", ".join(filter(None, (method if method != "nan" else "", str(row.get(VARIANT, "") or ""))))
    return f"{name} ({more})" if more else name


def _score(row: "pd.Series[Any]", name: str) -> str:
    low, high = (row.get(f"{name} {end}", math.nan) for end in ("low", "high"))
    return f"{row[name]:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _highest(rows: pd.DataFrame, name: str) -> "pd.Series[Any]":
    return rows.sort_values(name, ascending=False, kind="stable").iloc[0]


def _is_significant(row: "pd.Series[Any]") -> bool:
    """Return whether a gain differs significantly from 0: by its interval and its p value after Holm, as for bold."""
    low, high, p = (float(row[name]) for name in (f"{GAIN} low", f"{GAIN} high", P_HOLM))
    return (low > 0 or high < 0) and p < LEVEL


def _verb(row: "pd.Series[Any]") -> str:
    return "gains" if row[GAIN] > 0 else "loses"


def _gain(row: "pd.Series[Any]") -> str:
    """Return a gain in points with its interval; without a sign if the verb already says gain or loss."""
    gain, low, high = (100 * float(row[f"{GAIN}{end}"]) for end in ("", " low", " high"))
    shown = f"{abs(gain):.1f}" if _is_significant(row) else f"{gain:+.1f}"
    return f"{shown} points ({low:+.1f} to {high:+.1f})"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 2 else f"{ratio:.1f} times"


Sentence = Callable[[Table, Mapping[str, Table]], str]
# By the table on which each sentence is based, in order.
SENTENCES: Mapping[str, Sentence] = {
    "leaderboard": _best,
    "cross_validation": _folds,
    "strategies": _fine_tuning,
    "longtail": _long_tail,
    "robustness_tiers": _corruption,
}
