"""Comparison in a cross-validated study: one row per backbone and method, over folds."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import pandas as pd

from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.study.definition import Study
from resnet_mlflow.study.table import CellResult

ORDERED_BY = "val accuracy"
SCORES = {"accuracy": "cv_accuracy", "balanced accuracy": "cv_balanced_accuracy", "ECE": "cv_ece"}
COLUMNS = ("backbone", "weights", "method", ORDERED_BY)


def build_folds_table(results: Iterable[CellResult]) -> pd.DataFrame:
    """Return one row per backbone, weights and method, best on the validation images within the training parts first.

    Args:
        results: Finished cells, with one seed.

    Returns:
        Columns ``backbone``, ``weights``, ``method``, ``val accuracy``, for each score its mean over folds, the limits
        of its interval and its sample standard deviation over folds, and ``fit s``.
    """
    rows = [_row(result) for result in results]
    table = pd.DataFrame(rows, columns=None if rows else list(COLUMNS))
    return table.sort_values(ORDERED_BY, ascending=False, ignore_index=True) if rows else table


def _row(result: CellResult) -> dict[str, object]:
    config, metrics = result.cell.config, result.metrics
    row: dict[str, object] = {"backbone": config.backbone, "weights": result.weights, "method": result.cell.method}
    row[ORDERED_BY] = metrics["cv_val_accuracy"]
    for title, metric in SCORES.items():
        row |= {title: metrics[metric], f"{title} std": metrics[f"{metric}_std"]}
        row |= {f"{title} {end}": metrics[f"{metric}_ci_{end}"] for end in ("low", "high")}
    return row | {"fit s": metrics["time/fit_s"]}


def folds_markdown(table: pd.DataFrame, study: Study, failures: Mapping[str, str]) -> str:
    """Return the table as Markdown, with notes on how to read it."""
    lines = [f"## Study {study.name}", ""]
    if study.description:
        lines += [study.description, ""]
    body = [_cells(row) for row in table.to_dict("records")]
    lines += markdown_table([*COLUMNS[:3], ORDERED_BY, *SCORES, "fit s"], body)
    lines += ["", *_legend(study)]
    if failures:
        lines += ["", "Cells that failed:", ""] + [f"- {name}: {reason}" for name, reason in failures.items()]
    return "\n".join(lines) + "\n"


def _legend(study: Study) -> Sequence[str]:
    return (
        f"{study.repeats} x {study.folds} folds, seed {study.seeds[0]}: mean over folds; brackets contain the",
        "95 % interval (corrected resampled t). Ordered by accuracy on validation images from the training folds; the",
        "held-out images were not used for any choice.",
    )


def _cells(row: Mapping[Hashable, object]) -> list[str]:
    scores = [f"{row[title]:.4f} ({row[f'{title} low']:.4f} to {row[f'{title} high']:.4f})" for title in SCORES]
    return [*(str(row[name]) for name in COLUMNS[:3]), f"{row[ORDERED_BY]:.4f}", *scores, f"{row['fit s']:.2f}"]
