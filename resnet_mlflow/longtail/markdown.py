"""Comparison of long-tail methods as Markdown, with notes on how to read it."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_mlflow.longtail.table import BASELINE, SHOWN
from resnet_mlflow.markdown import markdown_table, plus_minus

if TYPE_CHECKING:
    import pandas as pd


def to_markdown(
    table: "pd.DataFrame",
    heading: str,
    group_sizes: Mapping[str, int],
    seeds: Sequence[int],
    failures: Mapping[str, str],
) -> str:
    """Return the table as Markdown.

    Args:
        table: Result of ``longtail.table.build_table``.
        heading: First line.
        group_sizes: Number of classes in the groups many, medium and few.
        seeds: The requested seeds.
        failures: Reasons by name for runs that did not finish.
    """
    shown = [title for title in SHOWN if f"{title} mean" in table]
    parts = ("over seeds", "over items", "over both")
    titles = ["method", *shown, f"gain over {BASELINE}", *parts, "p (Holm)", "fit s", "seeds"]
    body = [_cells(row, shown) for row in table.to_dict("records")]
    lines = [f"## {heading}", "", *markdown_table(titles, body), "", *_legend(group_sizes, seeds)]
    if failures:
        lines += ["", "Runs that failed:", ""] + [f"- {name}: {reason}" for name, reason in failures.items()]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[Hashable, object], shown: Sequence[str]) -> list[str]:
    scores = [_spread(row[f"{title} mean"], row[f"{title} std"]) for title in shown]
    n_seeds = f"{row['n seeds']} (without {row['missing seeds']})" if row["missing seeds"] else str(row["n seeds"])
    n_seeds += f" ({row['repeated seeds']} gave identical results)" if row["repeated seeds"] else ""
    gain = [_number(row["gain"], "{:+.3f}"), *(_interval(row, f"gain{part}") for part in (" seeds", " items", ""))]
    p_value = row["p Holm"]
    small = isinstance(p_value, float) and p_value < 0.001
    text = "< 0.001" if small else _number(p_value, "{:.3f}")
    return [str(row["method"]), *scores, *gain, text, f"{row['fit s']:.2f}", n_seeds]


def _spread(mean: object, std: object) -> str:
    """Return mean ± standard deviation: a dash for a group without classes, no deviation for one seed."""
    return plus_minus(_number(mean, "{:.3f}"), float(str(std)), 3)


def _interval(row: Mapping[Hashable, object], name: str) -> str:
    low, high = row[f"{name} low"], row[f"{name} high"]
    return "-" if _is_nan(low) else f"{low:+.3f} to {high:+.3f}"


def _number(value: object, form: str) -> str:
    return "-" if _is_nan(value) else form.format(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _legend(group_sizes: Mapping[str, int], seeds: Sequence[int]) -> list[str]:
    sizes = ", ".join(f"{name} {n}" for name, n in group_sizes.items())
    several = len(seeds) > 1
    test = "both combined" if several else "McNemar's test over test images, with equal class weights"
    return [
        f"Test scores; mean ± sample standard deviation over seeds {', '.join(map(str, seeds))}, ordered by balanced",
        f"accuracy on validation. Classes per group: {sizes}; a dash is a group without classes.",
        f"gain: balanced accuracy minus that of `{BASELINE}` with the same seed, with its 95 % intervals: Student's t",
        "over seeds (other training images; Nadeau and Bengio), Tango's over test images (other test images), and "
        "both.",
        f"p: {test}, with Holm's correction over methods.",
    ]
