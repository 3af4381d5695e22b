"""Methods over several datasets."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import frozen_or_tuned, score_rows, split_by_dataset
from analysis.illustration import rank_chart
from analysis.table import RUN_IDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.statistics import (
    WILCOXON_MIN_PAIRS,
    FriedmanTest,
    average_ranks,
    cliques,
    friedman,
    holm,
    nemenyi_critical_difference,
    wilcoxon_p_value,
)

METRIC = "test/accuracy"
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods ranked over datasets: the content of a critical-difference diagram.

    Attributes:
        methods: Names, best mean rank first.
        ranks: Mean rank of each, 1 being best.
        friedman: Test that all methods are equal.
        critical_difference: By how much mean ranks must differ (Nemenyi).
        p_values: P values of Wilcoxon's test after Holm, ``(n_methods, n_methods)``; NaN if n is too small.
        cliques: Groups of methods, by position, in which no two differ significantly: Wilcoxon with Holm, or the
            critical difference if n is too small for Wilcoxon.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    friedman: FriedmanTest
    critical_difference: float
    p_values: NDArray[np.float64]
    cliques: tuple[tuple[int, ...], ...]


def rank_methods(scores: pd.DataFrame) -> Ranking:
    """Return the ranking of methods over datasets.

    Args:
        scores: Datasets as rows, methods as columns; higher is better, none missing.
    """
    order = np.argsort(average_ranks(scores).mean(axis=0), kind="stable")
    ordered = scores.iloc[:, order]
    test = friedman(ordered)
    n, k = ordered.shape
    pairs = list(combinations(range(k), 2))
    adjusted = holm([wilcoxon_p_value(ordered.iloc[:, i], ordered.iloc[:, j]) for i, j in pairs])
    p_values = np.full((k, k), math.nan)
    for (i, j), p_value in zip(pairs, adjusted, strict=True):
        p_values[i, j] = p_values[j, i] = p_value
    difference = nemenyi_critical_difference(k, n)
    ranks = np.array(test.ranks)
    by_rank = np.abs(ranks[:, None] - ranks[None, :]) > difference
    # Pairs with equal scores on all datasets have no p value either, and do not differ significantly.
    separated = by_rank if n < WILCOXON_MIN_PAIRS else np.nan_to_num(p_values, nan=1.0) < ALPHA
    names = tuple(map(str, ordered.columns))
    return Ranking(names, test.ranks, test, difference, p_values, tuple(cliques(ranks.tolist(), separated)))


def scores_by_dataset(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return test accuracy with datasets as rows and methods as columns, and the runs behind each method.

    A method is a backbone with a head and its trained layers; of several settings, the best on validation data is
    used. Methods that are missing on a dataset are omitted.
    """
    rows: dict[str, dict[str, float]] = {}
    run_ids: dict[str, list[str]] = {}
    for digest, own in split_by_dataset(frame).items():
        cells = frozen_or_tuned(own)
        if cells.empty:
            continue
        table = score_rows(cells, ["backbone", "head", "strategy"], ["val/accuracy", METRIC])
        name = f"{cells['dataset'].iloc[0]} {digest[:8]}"
        for row in table.sort_values("val/accuracy", kind="stable").to_dict("records"):
            method = f"{row['head']} {row['backbone']} {row['strategy']}"
            rows.setdefault(name, {})[method] = row[METRIC]
            run_ids.setdefault(method, []).extend(row[RUN_IDS])
    scores = pd.DataFrame.from_dict(rows, orient="index").dropna(axis=1)
    return scores, {method: run_ids[method] for method in map(str, scores.columns)}


def datasets(frame: pd.DataFrame) -> Table | None:
    """Return methods by their mean rank over datasets; nothing unless two datasets share two methods.

    The only table that may contain several dataset digests: it compares ranks within each, never scores across them.
    """
    scores, run_ids = scores_by_dataset(frame)
    if min(scores.shape) < 2:
        return None
    ranking = rank_methods(scores)
    rows = pd.DataFrame({"method": ranking.methods, "rank": ranking.ranks})
    bars = ["".join(chr(ord("a") + i) for i, bar in enumerate(ranking.cliques) if row in bar) for row in rows.index]
    rows = rows.assign(clique=bars)
    for name in scores.index:
        rows[str(name)] = [float(scores.loc[name, method]) for method in ranking.methods]
    rows[RUN_IDS] = [run_ids[method] for method in ranking.methods]
    columns = (
        Column("method", "method"),
        Column("rank", "mean rank", "number"),
        Column("clique", "no significant difference"),
        *(Column(str(name), str(name), "score") for name in scores.index),
    )
    return Table(ROW.name, ROW.question, rows, columns, tuple(_notes(ranking)))


def _notes(ranking: Ranking) -> list[str]:
    test = ranking.friedman
    notes = [
        f"Friedman over {test.n_datasets} datasets: chi2 {test.chi2:.3f} (p {test.chi2_p_value:.2g}), Iman-Davenport F "
        f"{test.f_statistic:.3f} (p {test.f_p_value:.2g}); mean ranks differ significantly from a difference of "
        f"{ranking.critical_difference:.3f} on "
        "(Nemenyi, 0.05).",
        "Methods that share a letter do not differ significantly.",
    ]
    if test.n_datasets < WILCOXON_MIN_PAIRS:
        notes.append(
            f"Wilcoxon: n too small ({test.n_datasets} datasets; below {WILCOXON_MIN_PAIRS} the exact test cannot "
            "reach 0.05), so letters follow the critical difference."
        )
    else:
        notes.append("Letters follow Wilcoxon's signed-rank tests with Holm over all pairs.")
    return notes


ROW = TableRow(
    "datasets",
    "Which method is best across several datasets?",
    needs="two datasets with finished runs of the same two methods",
    build=datasets,
    chart=rank_chart,
    over_datasets=True,
)
