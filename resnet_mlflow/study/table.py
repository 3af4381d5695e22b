"""Comparison in a study: one row per backbone and method, over seeds."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_mlflow.markdown import markdown_table, plus_minus
from resnet_mlflow.statistics import SeedSummary, distinct_seeds, summarize_seeds
from resnet_mlflow.study import Cell, Study

SCORES = {
    "val accuracy": "val/accuracy",
    "test accuracy": "test/accuracy",
    "test balanced accuracy": "test/balanced_accuracy",
    "test ECE": "test/ece",
}


@dataclass(frozen=True)
class CellResult:
    """Results of a finished cell, and its run."""

    cell: Cell
    weights: str
    metrics: Mapping[str, float]
    run_id: str
    reused: bool


def build_table(results: Iterable[CellResult], seeds: Sequence[int]) -> pd.DataFrame:
    """Return one row per backbone, weights and method, best validation accuracy first.

    Args:
        results: Finished cells.
        seeds: The study's seeds; each row lists its missing ones.

    Returns:
        Columns ``backbone``, ``weights``, ``method``, ``n seeds`` (with different results), ``repeated seeds`` (with
        the results of another one), ``missing seeds``, and for each score its ``mean`` and ``std`` (sample standard
        deviation; NaN for one seed), ``ci_low`` and ``ci_high`` (over items, for one seed; else NaN), and ``fit s``.
    """
    groups: dict[tuple[str, str, str], list[CellResult]] = defaultdict(list)
    for result in results:
        # Weights are part of the key: random and ImageNet weights never share a row.
        groups[result.cell.config.backbone, result.weights, result.cell.method].append(result)
    rows = [_row(key, group, seeds) for key, group in groups.items()]
    columns = ["backbone", "weights", "method", "n seeds", "repeated seeds", "missing seeds"]
    table = pd.DataFrame(rows, columns=None if rows else columns)
    return table.sort_values(["val accuracy mean"], ascending=False, ignore_index=True) if rows else table


def _row(key: tuple[str, str, str], group: Sequence[CellResult], seeds: Sequence[int]) -> dict[str, object]:
    backbone, weights, method = key
    present = {result.cell.config.seed: result.metrics for result in group}
    distinct = distinct_seeds(present)
    group = [result for result in group if result.cell.config.seed in distinct]
    row: dict[str, object] = {"backbone": backbone, "weights": weights, "method": method, "n seeds": len(group)}
    row["repeated seeds"] = " ".join(str(seed) for seed in present if seed not in distinct)
    row["missing seeds"] = " ".join(str(seed) for seed in seeds if seed not in present)
    for title, metric in SCORES.items():
        summary = _summary(group, metric, seeds)
        row |= {f"{title} mean": summary.mean, f"{title} std": summary.std}
        # One run has no deviation over seeds, only the interval over its items.
        ends = group[0].metrics if len(group) == 1 else {}
        row |= {f"{title} {end}": ends.get(f"{metric}_{end}", math.nan) for end in ("ci_low", "ci_high")}
    row["fit s"] = _summary(group, "time/fit_s", seeds).mean
    return row


def _summary(group: Sequence[CellResult], metric: str, seeds: Sequence[int]) -> SeedSummary:
    return summarize_seeds({result.cell.config.seed: result.metrics[metric] for result in group}, seeds)


def to_markdown(table: pd.DataFrame, study: Study, failures: Mapping[str, str]) -> str:
    """Return the table as Markdown, with notes on how to read it."""
    lines = [f"## Study {study.name}", ""]
    if study.description:
        lines += [study.description, ""]
    titles = ["backbone", "weights", "method", *SCORES, "fit s", "seeds"]
    body = [_cells(row) for row in table.to_dict("records")]
    lines += markdown_table(titles, body)
    seeds = ", ".join(map(str, study.seeds))
    spread = f"Mean ± sample standard deviation over seeds {seeds}."
    if len(study.seeds) == 1:
        spread = f"Seed {seeds} only; brackets contain the 95 % interval over the split's images."
    lines += ["", f"{spread} Ordered by validation accuracy;", "test accuracy was not used for any choice."]
    if failures:
        lines += ["", "Cells that failed:", ""] + [f"- {name}: {reason}" for name, reason in failures.items()]
    return "\n".join(lines) + "\n"


def _score(row: Mapping[Hashable, object], title: str) -> str:
    mean, std, low, high = (float(str(row[f"{title} {part}"])) for part in ("mean", "std", "ci_low", "ci_high"))
    if row["n seeds"] != 1:
        return plus_minus(f"{mean:.4f}", std, 4)
    return f"{mean:.4f}" if math.isnan(low) else f"{mean:.4f} ({low:.4f} to {high:.4f})"


def _cells(row: Mapping[Hashable, object]) -> list[str]:
    scores = [_score(row, title) for title in SCORES]
    missing = f"{row['n seeds']} (without {row['missing seeds']})" if row["missing seeds"] else str(row["n seeds"])
    missing += f" ({row['repeated seeds']} gave identical results)" if row["repeated seeds"] else ""
    head = [str(row[name]) for name in ("backbone", "weights", "method")]
    return [*head, *scores, f"{row['fit s']:.2f}", missing]
