"""Notes in words: which rows may be the best, which of these is the cheapest, and how much data would decide."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from analysis.cells import VARIANT
from analysis.render import format_value
from analysis.table import Doubt
from resnet_mlflow.backbones.complexity import backbone_complexity
from resnet_mlflow.markdown import two_digits
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.statistics import Needed, Pair, SeededDifference, best_set

COST = "time/fit_s"
# More test images or seeds than these are unrealistic.
MOST_ITEMS = 10_000_000
REFERENCE_SIZE = 224
# From a difference, and the number of comparisons that share the level, to the data that would make it significant.
Need = Callable[[SeededDifference, int], Needed]


def best_note(
    place: str,
    frame: pd.DataFrame,
    rows: Sequence[int],
    pairs: Sequence[Pair],
    metric: str,
    p_values: Mapping[tuple[int, int], float],
    need: Need,
) -> tuple[str, Doubt] | None:
    """Return a note on rows if none is significantly better than all others, and the doubt about the first.

    Args:
        place: Which rows compete, followed by a colon; or empty.
        frame: Rows of scores.
        rows: Their positions; pairs count from the first of them.
        pairs: Differences in the metric between these rows.
        metric: The score.
        p_values: The p value that the table shows for each pair, after Holm's correction.
        need: Returns the data that would make the difference of two rows significant.

    Returns:
        Nothing if there is nothing to say.
    """
    best = max(range(len(rows)), key=lambda i: float(frame[metric].iloc[rows[i]]))
    open_pairs = [pair for pair in pairs if best in (pair.first, pair.second) and not pair.separated]
    if len(rows) < 2 or not open_pairs:
        return None
    names, chosen = [name_of(frame, row) for row in rows], best_set(len(rows), pairs)
    close = min(open_pairs, key=lambda pair: abs(pair.difference.difference))
    rival = close.second if close.first == best else close.first
    found, (low, high) = close.difference, close.difference.interval
    wanted = need(found, len(rows) - 1)
    p = format_value(p_values[close.first, close.second], "p_value")
    first = f"{place}the" if place else "The"
    text = (
        f"{first} best {_words(metric)} is not significantly better than {out_of(len(open_pairs), len(rows) - 1)}: "
        f"{_listed([names[i] for i in chosen])} cannot be excluded (95 % confidence set of the best)."
    )
    if len(chosen) > 1:
        least, why = cheapest(frame, [rows[i] for i in chosen])
        text += f" The cheapest of them: {name_of(frame, least)}{f' ({why})' if why else ''}."
    doubt = doubt_about(f"{place}{names[best]} over {names[rival]}", found, wanted)
    return (
        f"{text} Closest to {names[best]} is {names[rival]}: difference {found.difference:+.4f}, 95 % interval "
        f"{low:+.4f} to {high:+.4f}, Holm p {p}; {_needed(found, wanted)}."
    ), doubt


def out_of(count: int, n_others: int) -> str:
    """Return how many of the others are meant, in words.

    Example:
        >>> [out_of(1, 1), out_of(3, 3), out_of(2, 3)]
        ['the other', 'any of the 3 others', '2 of the 3 others']
    """
    if n_others == 1:
        return "the other"
    return f"any of the {n_others} others" if count == n_others else f"{count} of the {n_others} others"


def doubt_about(claim: str, found: SeededDifference, wanted: Needed) -> Doubt:
    """Return a difference that is not significant as a doubt, with the number of test images that it needs.

    Args:
        claim: What is better than what, according to the table.
        found: Their difference.
        wanted: The data that would make it significant.
    """
    return Doubt(claim, abs(found.difference), found.n_items, wanted.n_items if found.difference else math.nan)


def _needed(found: SeededDifference, wanted: Needed) -> str:
    """Return how much data would make the difference of two rows significant, if the true difference is as found."""
    if found.difference == 0:
        return "if they are as similar as found, no amount of data would separate them"
    if wanted.n_items <= found.n_items or wanted.n_seeds <= found.n_seeds:
        return "the difference would be significant on its own, but not after correction for the number of comparisons"
    ways = []
    if wanted.n_items <= MOST_ITEMS:
        ways.append(f"{two_digits(wanted.n_items)} test images instead of {found.n_items:,}")
    if not math.isnan(wanted.n_seeds):
        ways.append(f"{int(wanted.n_seeds)} seeds instead of {found.n_seeds}")
    if not ways:
        return "if they are as similar as found, neither more seeds nor more test images alone would separate them"
    more = " or ".join(ways)
    return f"a significant difference would take about {more} (80 % power, if the true difference is as found)"


def cheapest(frame: pd.DataFrame, rows: Sequence[int]) -> tuple[int, str]:
    """Return the cheapest row and the reason: fewest MACs if backbones differ, otherwise the shortest fit."""
    backbones = [str(frame["backbone"].iloc[row]) for row in rows] if "backbone" in frame else []
    if len(set(backbones)) > 1 and set(backbones) <= set(BACKBONES):
        macs = [backbone_complexity(name, REFERENCE_SIZE).macs for name in backbones]
        least = [row for row, own in zip(rows, macs, strict=True) if own == min(macs)]
        if len(least) == 1:
            return least[0], "the fewest MACs per image"
        rows = least
    if COST not in frame or frame[COST].iloc[list(rows)].isna().any():
        return rows[0], ""
    row = min(rows, key=lambda row: float(frame[COST].iloc[row]))
    seconds = float(frame[COST].iloc[row])
    return row, f"{'less than 0.01' if seconds < 0.01 else f'{seconds:.2f}'} s to fit"


def name_of(frame: pd.DataFrame, row: int) -> str:
    """Return what distinguishes a row: the labels that differ between rows, and its parameters."""
    labels = [str(name) for name in frame.columns[: list(frame.columns).index(VARIANT) + 1]]
    telling = [name for name in labels if len(set(frame[name].astype(str))) > 1] or labels[:1]
    values = {name: frame[name].iloc[row] for name in telling}
    # A number on its own, such as the number of trials, is not a name.
    parts = [value if isinstance(value, str) else f"{name} {value}" for name, value in values.items()]
    return " ".join(filter(None, parts))


def _words(metric: str) -> str:
    return metric.replace("/", " ").replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
