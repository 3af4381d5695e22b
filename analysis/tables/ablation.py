"""Every backbone with every head."""

from typing import Any

import pandas as pd

from analysis.cells import best_settings, frozen_or_tuned
from analysis.illustration import grid_chart
from analysis.questions import context_notes, separate
from analysis.table import RUN_IDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.heads import HEADS

METRIC = "test/accuracy"
PARTS = ("", " std", " n", " low", " high")


def ablation(frame: pd.DataFrame) -> Table | None:
    """Return test accuracy of every backbone with every head on frozen features: backbones down, heads across.

    If a pair was run with several settings, the one with the best validation accuracy is shown. A head's
    column ``x`` comes with ``x std``, ``x n``, ``x low``, ``x high`` and ``x run_ids``.
    """
    cells = frozen_or_tuned(frame)
    cells = cells[cells["strategy"] == "frozen"]
    if cells.empty:
        return None
    best = best_settings(cells, ["backbone", "head"], [METRIC])
    heads = [head for head in HEADS if head in set(best["head"])]
    seen = set(map(str, best["backbone"]))
    # timm's backbones are not counted by the registry, so they follow its own.
    backbones = [*(name for name in BACKBONES if name in seen), *sorted(seen - set(BACKBONES))]
    grid = pd.DataFrame([_grid_row(backbone, heads, best) for backbone in backbones])
    found = separate(best, ("backbone",), [METRIC])
    winners = frozenset(
        (backbones.index(str(best["backbone"][row])), str(best["head"][row])) for row, _ in found.winners
    )
    columns = (Column("backbone", "backbone"), *(Column(head, head, "score") for head in heads))
    notes = [
        *context_notes(cells),
        "Test accuracy; bold is significantly better than every other head in the row.",
        *found.notes,
    ]
    if cells["setting"].nunique() > len(best):
        notes.append(
            "If a pair was run with several sets of parameters, the set with the best validation accuracy is shown."
        )
    if missing := len(heads) * len(backbones) - len(best):
        notes.append(f"{missing} of {len(heads) * len(backbones)} pairs were not run.")
    return Table(ROW.name, ROW.question, grid, columns, tuple(notes), winners)


def _grid_row(backbone: str, heads: list[str], best: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"backbone": backbone}
    run_ids: list[str] = []
    for head in heads:
        found = best[(best["backbone"] == backbone) & (best["head"] == head)]
        cell = found.iloc[0] if len(found) else None
        row |= {f"{head}{part}": float("nan") if cell is None else cell[f"{METRIC}{part}"] for part in PARTS}
        row[f"{head} {RUN_IDS}"] = [] if cell is None else cell[RUN_IDS]
        run_ids += row[f"{head} {RUN_IDS}"]
    return row | {RUN_IDS: run_ids}


ROW = TableRow(
    "ablation",
    "How do backbones and heads combine?",
    needs="finished runs of fit_head",
    build=ablation,
    chart=grid_chart,
)
