"""The findings of an audit as one table: one row per image and kind of issue."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.audit.labels import WrongLabels
from resnet_mlflow.audit.pictures import Faulty
from resnet_mlflow.audit.pool import NoImage, Pool
from resnet_mlflow.audit.twins import Twins
from resnet_mlflow.registry import Registry

Ints = NDArray[np.int64]
COLUMNS = (
    "kind", "split", "path", "label", "suggested", "score", "details", "other_split", "other_path", "other_label",
    "verdict", "item_id", "other_item_id",
)  # fmt: skip


@dataclass(frozen=True)
class IssueKind:
    """A kind of issue: its names, and what to do about it.

    Attributes:
        name: Name in tables.
        title: Title for readers.
        advice: Advice, as a sentence.
    """

    name: str
    title: str
    advice: str


KINDS: Registry[IssueKind] = Registry(
    "issue",
    IssueKind("unreadable", "Unreadable", "Fix or remove the file."),
    IssueKind("label", "Suspicious label", "Look at the image; write keep, drop or the correct class."),
    IssueKind("contradiction", "One image, two labels", "Write the correct class for one of them, or drop both."),
    IssueKind("copy_across", "Same file in another split", "Drop it: it makes the test score reward memorisation."),
    IssueKind("twin_across", "Near-duplicate in another split", "Drop it, or use the score without near-duplicates."),
    IssueKind("copy_within", "Same file twice in a split", "Drop one: it counts twice."),
    IssueKind(
        "twin_within", "Near-duplicate in the same split", "Keep it, unless the images of a split must be independent."
    ),
    IssueKind("outlier", "Outlier", "Check whether it belongs to the dataset."),
    IssueKind("not_understood", "No class fits", "Check whether it shows one of the classes."),
    IssueKind("tiny", "Tiny", "Replace it by a larger image, or drop it."),
    IssueKind("blurred", "Blurred", "Keep it if such images will occur in use."),
    IssueKind("dark", "Dark", "Keep it if such images will occur in use."),
    IssueKind("blown_out", "Blown out", "Check whether anything is visible."),
    IssueKind("flat", "Flat", "Drop it if it shows nothing."),
    IssueKind("odd_aspect", "Odd shape", "Its ends are cropped off before the network sees it: crop it by hand."),
    IssueKind("odd_size", "Odd size in its class", "Check whether it came from another source."),
)


@dataclass(frozen=True)
class _Issue:
    kind: str
    row: int
    score: float
    details: str = ""
    suggested: str = ""
    other: int = -1


def build_issues(
    pool: Pool,
    twins: Twins,
    same: tuple[Ints, Ints],
    labels: tuple[WrongLabels, Ints],
    lonely: tuple[Ints, NDArray[np.float32]],
    lost: tuple[Ints, NDArray[np.float64]],
    faults: Sequence[Faulty],
) -> pd.DataFrame:
    """Return the table of issues in the order of ``KINDS``, the worst of each kind first.

    Args:
        pool: The images of all splits.
        twins: Pairs that show one picture.
        same: Pairs with equal content, result of ``twins.copies``.
        labels: Findings on labels, and the rows of suspects.
        lonely: Rows of outliers, and the loneliness of all images.
        lost: Rows that fit no class, and the highest class probability of each image.
        faults: Faults of pictures.

    Returns:
        Columns ``kind``, ``split``, ``path`` (relative to the dataset's folder), ``label``, ``suggested``, ``score``,
        ``details``, ``other_split``, ``other_path``, ``other_label`` (of a twin), ``verdict`` (empty, to be filled in
        by hand), ``item_id`` and ``other_item_id``.
    """
    names = pool.class_names
    judged, suspects = labels
    found = [
        *(_Issue("unreadable", row, 1.0, reason) for row, reason in pool.unreadable.items()),
        *_nearest_of_each(
            [
                *_pairs(pool, "copy", same[0], same[1], np.ones(len(same[0])), [""] * len(same[0])),
                *_pairs(pool, "twin", twins.first, twins.second, twins.score, twins.change),
            ]
        ),
        *(_suspect(judged, int(row), names) for row in suspects),
        *(_Issue("outlier", int(row), float(lonely[1][row])) for row in lonely[0]),
        *(_Issue("not_understood", int(row), 1 - float(lost[1][row])) for row in lost[0]),
        *_faulty(faults),
    ]
    return _frame(pool, found)


def _suspect(judged: WrongLabels, row: int, names: Sequence[str]) -> _Issue:
    own, suggested = judged.self_confidence[row], names[judged.suggested[row]]
    details = f"its own class gets {own:.3f}, {suggested} {own - judged.margin[row]:.3f}"
    return _Issue("label", row, float(judged.wrong[row]), details, suggested)


def _pairs(
    pool: Pool, word: str, first: Ints, second: Ints, score: Iterable[float], change: Iterable[str]
) -> Iterator[_Issue]:
    """Yield an issue for the later of two images in the order of splits, and for both if their labels contradict."""
    pairs = zip(first.tolist(), second.tolist(), score, change, strict=True)
    for one, other, likeness, how in pairs:
        across = pool.split_index[one] != pool.split_index[other]
        yield _Issue(f"{word}_{'across' if across else 'within'}", other, float(likeness), how, other=one)
        if pool.labels[one] != pool.labels[other]:
            yield _Issue("contradiction", other, float(likeness), how, other=one)
            yield _Issue("contradiction", one, float(likeness), how, other=other)


def _nearest_of_each(issues: Iterable[_Issue]) -> list[_Issue]:
    """Return the most similar pair of each image and kind, most similar first: a burst of 20 pictures has 190 pairs."""
    found: dict[tuple[str, int], _Issue] = {}
    for issue in sorted(issues, key=lambda issue: -issue.score):
        found.setdefault((issue.kind, issue.row), issue)
    return list(found.values())


def _faulty(faults: Iterable[Faulty]) -> Iterator[_Issue]:
    for one in faults:
        for row, figure in zip(one.rows.tolist(), one.figures.tolist(), strict=True):
            yield _Issue(one.fault.name, row, figure, one.fault.shown.format(figure))


def _frame(pool: Pool, found: Sequence[_Issue]) -> pd.DataFrame:
    order = {name: place for place, name in enumerate(KINDS)}
    found = sorted(found, key=lambda issue: order[issue.kind])
    rows = [*map(_row_of_no_image, pool.no_images), *(_row(pool, issue) for issue in found)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": "float64"})


def _row_of_no_image(file: NoImage) -> tuple[object, ...]:
    return ("unreadable", file.split, file.path, file.label, "", 1.0, file.reason, "", "", "", "", "", "")


def _row(pool: Pool, issue: _Issue) -> tuple[object, ...]:
    here = (pool.split_of(issue.row), pool.paths[issue.row], pool.label_of(issue.row))
    there, other_id = ("", "", ""), ""
    if issue.other >= 0:
        there = (pool.split_of(issue.other), pool.paths[issue.other], pool.label_of(issue.other))
        other_id = str(pool.item_ids[issue.other])
    item_id = pool.item_ids[issue.row]
    return (issue.kind, *here, issue.suggested, issue.score, issue.details, *there, "", str(item_id), other_id)
