"""Tested classifiers side by side: one row per classifier, or per method over its seeds."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_mlflow.markdown import markdown_table, plus_minus
from resnet_mlflow.robustness.corruption import TIERS
from resnet_mlflow.robustness.groups import BENCHMARK, scored_groups
from resnet_mlflow.robustness.selection import CLEAN
from resnet_mlflow.robustness.summary import TriedClassifier
from resnet_mlflow.statistics import distinct_seeds, summarize_seeds

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("clean", *TIERS, "mean")
# Columns by metric, in display order.
SCORES: dict[str, str] = {
    **{part: f"robustness/{part}/accuracy" for part in PARTS},
    "mCE": "robustness/mce",
    "relative mCE": "robustness/relative_mce",
    **{group: f"robustness/{group}/accuracy" for group in scored_groups()},
    "many": "robustness/mean/accuracy_many",
    "medium sized": "robustness/mean/accuracy_medium",
    "few": "robustness/mean/accuracy_few",
    "labels kept": "robustness/mean/consistency",
    "ECE clean": "robustness/clean/ece",
    "ECE mean": "robustness/mean/ece",
}
PERCENT = ("mCE", "relative mCE")
Metrics = Mapping[str, float]


def build_table(tried: Sequence[tuple[TriedClassifier, Metrics]]) -> "pd.DataFrame":
    """Return one row per name, best mean accuracy under corruption first.

    Args:
        tried: Classifiers with their plain metrics.

    Returns:
        Columns ``classifier``, ``seeds`` (with different results), ``n seeds``, and for each score ``mean`` and ``std``
        over seeds (NaN for one) and, for one seed, the limits ``low`` and ``high`` of its interval over images. Scores
        that no classifier has are omitted. ``runs`` holds the IDs of all runs.
    """
    import pandas as pd

    rows: dict[str, list[tuple[TriedClassifier, Metrics]]] = {}
    for one in tried:
        rows.setdefault(one[0].name, []).append(one)
    scores = {name: metric for name, metric in SCORES.items() if any(metric in metrics for _, metrics in tried)}
    table = pd.DataFrame([_row(name, group, scores) for name, group in rows.items()])
    return table.sort_values("mean mean", ascending=False, ignore_index=True, kind="stable")


def _row(name: str, group: Sequence[tuple[TriedClassifier, Metrics]], scores: Mapping[str, str]) -> dict[str, object]:
    distinct = distinct_seeds({one.seed: metrics for one, metrics in group})
    runs = " ".join(one.run_id for one, _ in group)
    group = [(one, metrics) for one, metrics in group if one.seed in distinct]
    seeds = [one.seed for one, _ in group]
    row: dict[str, object] = {"classifier": name, "seeds": " ".join(map(str, seeds)), "n seeds": len(group)}
    for title, metric in scores.items():
        summary = summarize_seeds({one.seed: metrics.get(metric, math.nan) for one, metrics in group}, seeds)
        row |= {f"{title} mean": summary.mean, f"{title} std": summary.std}
        ends = group[0][1] if len(group) == 1 else {}
        row |= {f"{title} {end}": ends.get(f"{metric}_ci_{end}", math.nan) for end in ("low", "high")}
    return row | {"runs": runs}


def cells_frame(tried: TriedClassifier) -> "pd.DataFrame":
    """Return one row per cell: accuracy with Wilson's interval, ECE, and the share of unchanged predictions."""
    import pandas as pd

    series = tried.series()
    rows = []
    for cell in tried.cells:
        name, own = f"robustness/{cell.corruption}", series[cell.severity]
        scores = ("accuracy", "accuracy_ci_low", "accuracy_ci_high", "ece", "consistency")
        values = {score: own[f"{name}/{score}"] for score in scores}
        rows.append({"corruption": cell.corruption, "severity": cell.severity, "n_images": len(tried.labels)} | values)
    return pd.DataFrame(rows)


def to_markdown(table: "pd.DataFrame", heading: str, first: TriedClassifier, remarks: Sequence[str]) -> str:
    """Return the table as Markdown, with notes on how to read it.

    Args:
        table: Result of ``build_table``.
        heading: First line.
        first: Any of the classifiers: all have the same cells and images.
        remarks: Further lines below the table.
    """
    shown = [title for title in SCORES if f"{title} mean" in table]
    titles = ["classifier", *shown, "seeds"]
    body = [
        [str(row["classifier"]), *(_score(row, title) for title in shown), str(row["seeds"])]
        for row in table.to_dict("records")
    ]
    lines = [f"## {heading}", "", *markdown_table(titles, body), "", *_legend(first, shown)]
    return "\n".join([*lines, *remarks]) + "\n"


def coverage(tried: TriedClassifier) -> str:
    """Return a description of the cells that means cover."""
    cells = tried.headline
    names = {cell.corruption for cell in cells}
    severities = ", ".join(map(str, sorted({cell.severity for cell in cells})))
    kind = "corruptions" if names <= set(BENCHMARK) else "perturbations"
    return f"{len(cells)} cells ({len(names)} {kind}, severities {severities}) of {len(tried.labels):,} images"


def _legend(first: TriedClassifier, shown: Sequence[str]) -> list[str]:
    tiers = ", ".join(f"{tier} is severity {severity}" for tier, severity in first.tiers.items())
    low, high = first.interval(CLEAN)
    lines = [
        f"Accuracy; {tiers}; mean: {coverage(first)}.",
        "± is the standard deviation over seeds; brackets contain the 95 % interval over images, which for clean "
        f"images is ± {(high - low) / 2:.3f}.",
    ]
    if "mCE" in shown:
        lines.append("mCE and relative mCE are percentages of the reference, whose own values are 100.")
    return lines


def _score(row: Mapping[Hashable, object], title: str) -> str:
    mean, std, low, high = (float(str(row[f"{title} {part}"])) for part in ("mean", "std", "low", "high"))
    if math.isnan(mean):
        return "-"
    digits = 1 if title in PERCENT else 3
    if not math.isnan(std):
        return plus_minus(f"{mean:.{digits}f}", std, digits)
    return f"{mean:.{digits}f}" if math.isnan(low) else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
