"""Applies the corrections in a table, which a person entered next to the issues of an audit, to a dataset."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnet_mlflow.csv_text import without_quote
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, dataset_digest, relative_paths
from resnet_mlflow.data.splits import check_class_sizes
from resnet_mlflow.data.table_files import Table, read_table
from resnet_mlflow.data.table_paths import refuse_rows
from resnet_mlflow.errors import InputError, nearest, printable
from resnet_mlflow.files.paths import user_path

logger = logging.getLogger(__name__)

KEEP, DROP = "keep", "drop"
# Prefix of a class name that is itself keep or drop.
LABEL = "label:"
_COLUMNS = ("verdict", "path", "item_id")

_Place = tuple[str, int]  # split and row


@dataclass(frozen=True, eq=False)
class _Marked:
    """The rows of a table that have a verdict, as text columns of equal length."""

    table: Table
    indices: Sequence[int]
    columns: Mapping[str, Sequence[str]]

    def refuse(self, column: str, is_right: Callable[[int], bool], rule: str, remedy: str) -> None:
        """Refuse the invalid rows, by position among those marked."""
        wrong = [index for place, index in enumerate(self.indices) if not is_right(place)]
        if wrong:
            values = self.table.columns.get(column) or [""] * len(self.table.rows)
            refuse_rows(self.table, values, wrong, rule, remedy)


def apply_corrections(dataset: ImageDataset, file: str) -> ImageDataset:
    """Return the dataset with the verdicts of a table applied, under its own digest.

    The table is ``issues.csv`` of an audit, or any table with columns ``verdict`` and ``path`` or ``item_id``, and
    ``split`` if one file or content is in several. A verdict is ``keep`` or empty (nothing changes), ``drop``, or the
    name of the right class; ``label:keep`` for a class with that name. Rows of one image must agree.

    Args:
        dataset: The dataset to correct.
        file: CSV, TSV, JSON lines or Parquet.

    Raises:
        InputError: If the table cannot be read or has no verdict, or a row names no image or class of the dataset.
    """
    marked = _read(user_path(file, "corrections").absolute())
    places = _places(dataset, marked)
    verdicts = _verdicts(dataset, marked, places)
    splits = {name: _corrected(split, name, verdicts) for name, split in dataset.splits.items()}
    for name, split in splits.items():
        if not len(split):
            raise InputError(f"each split must keep at least one image, got {name}, where {file} drops all; keep some")
    check_class_sizes(splits["train"].labels, dataset.class_names, n_min=1 if "val" in splits else 2)
    n_dropped = sum(verdict is None for verdict in verdicts.values())
    n_labels = sum(
        verdict is not None and verdict != dataset.splits[split].labels[row]
        for (split, row), verdict in verdicts.items()
    )
    logger.info("%s: %d images dropped, %d labels changed by %s", dataset.name, n_dropped, n_labels, file)
    digest = dataset_digest(dataset.class_names, splits)
    return replace(dataset, splits=splits, digest=digest, corrected_from=dataset.digest)


def _read(path: Path) -> _Marked:
    table = read_table(path)
    names = {name.lower(): name for name in table.columns}
    if "verdict" not in names or not {"path", "item_id"} & set(names):
        raise InputError(
            "corrections must have columns verdict and path (or item_id), got "
            f"{', '.join(table.columns)[:200]} in {printable(str(path))}; use issues.csv from an audit"
        )
    columns = {name: table.columns[own] for name, own in names.items() if name in (*_COLUMNS, "split")}
    indices = [index for index, verdict in enumerate(columns["verdict"]) if verdict.strip()]
    if not indices:
        raise InputError(
            f"corrections must contain a verdict, got none in {printable(str(path))}; write keep, drop or a class"
        )
    texts = {name: [without_quote(values[index].strip()) for index in indices] for name, values in columns.items()}
    return _Marked(table, indices, texts)


def _places(dataset: ImageDataset, marked: _Marked) -> list[list[_Place]]:
    """Return the images that each marked row refers to."""
    by_path: dict[str, list[_Place]] = {}
    by_id: dict[str, list[_Place]] = {}
    for name, split in dataset.splits.items():
        for row, (path, item_id) in enumerate(zip(dataset.relative_paths(split), split.item_ids.tolist(), strict=True)):
            by_path.setdefault(path, []).append((name, row))
            by_id.setdefault(item_id, []).append((name, row))
    n_rows = len(marked.indices)
    paths, ids, splits = (marked.columns.get(name, [""] * n_rows) for name in ("path", "item_id", "split"))
    found = [
        [place for place in (by_path if path else by_id).get(path or item_id, []) if split in ("", place[0])]
        for path, item_id, split in zip(paths, ids, splits, strict=True)
    ]
    # A file that is not an image is in no split, so its verdict has no effect.
    left_out = set(relative_paths(dataset.skipped_paths, dataset.root, dataset.n_skipped))
    marked.refuse(
        "path" if any(paths) else "item_id",
        lambda place: bool(found[place]) or paths[place] in left_out,
        "corrections must name images of the dataset, by their path from its folder",
        "use the table from an audit of this dataset",
    )
    return found


def _verdicts(dataset: ImageDataset, marked: _Marked, places: list[list[_Place]]) -> dict[_Place, int | None]:
    """Return the corrected label of each image in the table; None if it is dropped."""
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    texts = marked.columns["verdict"]
    known = {*label_of, *(LABEL + name for name in label_of), KEEP, DROP}
    unknown = next((text for text in texts if text not in known), "")
    marked.refuse(
        "verdict",
        lambda place: texts[place] in known,
        "verdicts must be keep, drop or a class of the dataset",
        f"fix them{nearest(unknown, known)}",
    )
    verdicts: dict[_Place, int | None] = {}
    said: dict[_Place, int | None] = {}
    agree = []
    for text, images in zip(texts, places, strict=True):
        values = {place: _value(text, place, dataset, label_of) for place in images}
        agree.append(all(said.get(place, value) == value for place, value in values.items()))
        said |= values
        verdicts |= values
    marked.refuse("verdict", lambda place: agree[place], "all rows of one image must have the same verdict", "fix one")
    return verdicts


def _value(text: str, place: _Place, dataset: ImageDataset, label_of: dict[str, int]) -> int | None:
    if text == DROP:
        return None
    split, row = place
    return int(dataset.splits[split].labels[row]) if text == KEEP else label_of[text.removeprefix(LABEL)]


def _corrected(split: ImageSplit, name: str, verdicts: dict[_Place, int | None]) -> ImageSplit:
    labels = split.labels.copy()
    dropped = np.zeros(len(split), dtype=bool)
    for (own, row), verdict in verdicts.items():
        if own != name:
            continue
        if verdict is None:
            dropped[row] = True
        else:
            labels[row] = verdict
    relabelled = replace(split, labels=labels)
    return relabelled.select(np.flatnonzero(~dropped)) if dropped.any() else relabelled
