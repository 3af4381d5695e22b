"""How well promoted classifiers detect images that are not from their dataset, by score."""

import re
from typing import Any

import pandas as pd

from analysis.charts import Chart
from analysis.table import RUN_IDS, Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.registry.ood_scores import OOD_SCORES

LABELS = ("backbone", "head", "weights")
CLEAN, AUROC, FPR = "ood/clean_accuracy", "auroc", "fpr95"
_METRIC = re.compile(rf"ood/(?P<source>.+)/(?P<score>[^/]+)/{AUROC}")
COLUMNS = (
    *(Column(name, name) for name in LABELS),
    Column(CLEAN, "clean accuracy", "score"),
    Column("source", "other images"),
    Column("n_images", "images", "count"),
    Column("score", "score"),
    Column(AUROC, "AUROC", "score"),
    Column(FPR, "FPR at 95 % TPR", "score"),
)


def unlike(frame: pd.DataFrame) -> Table | None:
    """Return AUROC, and FPR with 95 % of its own images accepted, per classifier, other images and score."""
    tried = frame[(frame["stage"] == "promote") & (frame["status"] == "FINISHED")]
    if CLEAN not in tried or not tried[CLEAN].notna().any():
        return None
    names = [(name, found) for name in map(str, tried) if (found := _METRIC.fullmatch(name))]
    # Newest first: if a classifier was tested several times on a source, the latest test is used.
    rows = [_row(run, name, found) for _, run in tried.iterrows() for name, found in names if pd.notna(run[name])]
    table = pd.DataFrame(rows).drop_duplicates([*LABELS, "candidate", "source", "score"])
    table = table.sort_values(["source", *LABELS, AUROC], ascending=[True] * 4 + [False], kind="stable")
    return Table(ROW.name, ROW.question, table.reset_index(drop=True), COLUMNS, NOTES)


def _row(run: "pd.Series[Any]", name: str, found: "re.Match[str]") -> dict[str, Any]:
    stem, row = name.removesuffix(AUROC), {label: run.get(label) for label in (*LABELS, CLEAN)}
    for measure in (AUROC, FPR):
        row[measure] = run[f"{stem}{measure}"]
        row |= {f"{measure} {end}": run[f"{stem}{measure}_ci_{end}"] for end in ("low", "high")}
    known = {"candidate": run.get("candidate"), "n_images": run[f"{stem}n_images"], RUN_IDS: (run["run_id"],)}
    return row | found.groupdict() | known


NOTES = (
    "AUROC: probability that one of the other images scores higher than a test image; 0.5 means no separation. FPR: "
    "share of other images that pass when 95 % of the test images are accepted. Brackets contain 95 % bootstrap "
    "intervals over both sets of images.",
    f"{', '.join(f'{row.name}: {row.reference}' for row in OOD_SCORES.values())}. Clean accuracy is computed from the "
    f"test images' features, which were extracted again together with those of the other images; it was checked "
    f"against the run's own.",
    "Nothing is bold: compare scores by their intervals.",
)


def _no_chart(table: Table) -> Chart | None:
    return None


ROW = TableRow(
    "unlike",
    "Which score best detects images that are not from the classifier's dataset?",
    needs="finished runs of promote with ood or ood_corruptions",
    build=unlike,
    chart=_no_chart,
)
