"""Classifiers on corrupted test images."""

from functools import partial

import pandas as pd

from analysis.cells import CONFIG, finished_cells, settings_of_tested
from analysis.illustration import grid_chart, tier_chart
from analysis.questions import Question, answer
from analysis.table import Column, Table
from analysis.tables.row import TableRow
from resnet_mlflow.robustness.corruption import TIERS
from resnet_mlflow.robustness.groups import scored_groups

LABELS = tuple(Column(name, name) for name in ("backbone", "head", "strategy", "method"))
CLEAN = Column("robustness/clean/accuracy", "clean", "score")
MEAN = Column("robustness/mean/accuracy", "mean", "score")
MCE = Column("robustness/mce", "mCE", "number")
GROUPS = ("many", "medium", "few")


def robustness_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the finished robustness runs, named by the classifiers they tested.

    Facts that a run does not contain, and the clean accuracy, are taken from the classifier's own run.
    """
    # Their parent run has no classifier; if a classifier was tested several times, the latest test is used.
    cells = finished_cells(frame[frame["classifier_run"].notna()], "robustness").drop_duplicates("classifier_run")
    tested = frame.drop_duplicates("run_id").set_index("run_id").reindex(cells["classifier_run"])
    for name in ("backbone", "head", "strategy", "method"):
        of_classifier = tested[name].set_axis(cells.index)
        cells = cells.assign(**{name: cells[name].where(cells[name].notna(), of_classifier)})
    if CLEAN.name not in cells and "test/accuracy" in tested:
        cells = cells.assign(**{CLEAN.name: tested["test/accuracy"].set_axis(cells.index)})
    # Rows are distinguished by how the classifiers were trained, not by how and with which others they were tested.
    known = tested["stage"].notna().to_numpy()
    # Weights come from there as well: for a fully trained network, this run names the trained weights, the
    # classifier's own run those it started from.
    for name in ("stage", "weights", *(column for column in map(str, frame) if column.startswith(CONFIG))):
        cells = cells.assign(**{name: tested[name].set_axis(cells.index).where(known, cells[name])})
    return cells.assign(setting=settings_of_tested(cells, frame))


def robustness_tiers(frame: pd.DataFrame) -> Table | None:
    """Return accuracy per classifier on clean images and under mild, medium and strong corruption."""
    scores = (CLEAN, *(_score(f"{tier}/accuracy", tier) for tier in TIERS), MEAN, MCE)
    return _answer(TIERS_ROW, robustness_cells(frame), scores)


def robustness_families(frame: pd.DataFrame) -> Table | None:
    """Return accuracy per classifier and family of corruptions."""
    scores = (CLEAN, *(_score(f"{family}/accuracy", family) for family in scored_groups()), MEAN)
    return _answer(FAMILIES_ROW, robustness_cells(frame), scores)


def tail_robustness(frame: pd.DataFrame) -> Table | None:
    """Return accuracy on many, medium and few classes under corruption, for classifiers trained on a long tail."""
    cells = robustness_cells(frame)
    scores = tuple(_score(f"{tier}/accuracy_{group}", f"{tier} {group}") for tier in TIERS for group in GROUPS)
    return _answer(TAIL_ROW, cells[cells["method"].fillna("") != ""], scores)


def _score(metric: str, header: str) -> Column:
    return Column(f"robustness/{metric}", header, "score")


def _answer(row: TableRow, cells: pd.DataFrame, scores: tuple[Column, ...]) -> Table | None:
    present = tuple(score for score in scores if score.name in cells and cells[score.name].notna().any())
    if not present:
        return None
    labels = tuple(label for label in LABELS if (cells[label.name].fillna("") != "").any())
    notes = (
        "Corrupted images are the same for every classifier, because each is seeded by image, corruption and "
        "severity. mild, medium and strong are severities 1, 3 and 5 unless a run sets them differently.",
        "Nothing is bold: compare rows by their intervals; no paired tests are made under corruption.",
    )
    return answer(
        Question(row.name, row.question, labels, scores=present, ordered_by=present[0].name, notes=notes), cells
    )


TIERS_ROW = TableRow(
    "robustness_tiers",
    "How fast does accuracy fall with the strength of corruption?",
    needs="finished runs of robustness",
    build=robustness_tiers,
    chart=tier_chart,
)
FAMILIES_ROW = TableRow(
    "robustness_families",
    "Which kind of corruption hurts which classifier?",
    needs="finished runs of robustness",
    build=robustness_families,
    chart=partial(grid_chart, axis="accuracy"),
)
TAIL_ROW = TableRow(
    "tail_robustness",
    "How much accuracy on rare classes survives corruption?",
    needs="finished runs of robustness on classifiers of longtail",
    build=tail_robustness,
    chart=partial(grid_chart, axis="mean recall"),
)
