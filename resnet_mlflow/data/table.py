"""Datasets listed in a table: one row per image, with its path, its label and further columns."""

import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, build_dataset
from resnet_mlflow.data.file_paths import as_file_paths
from resnet_mlflow.data.files import LabelledPaths, default_image_size, manifest_path, splits_of_files
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.data.split_names import are_splits, read_split_name, splits_of_roles
from resnet_mlflow.data.table_files import ENDINGS, Table, read_table
from resnet_mlflow.data.table_paths import locate, refuse_rows
from resnet_mlflow.data.walking import is_utf8
from resnet_mlflow.errors import InputError, printable, shown
from resnet_mlflow.files.paths import user_path

logger = logging.getLogger(__name__)

# Hugging Face's image folders call it file_name.
_PATH_COLUMNS = ("path", "file_name")
_METADATA = "metadata"
# The maximum length of a class folder's name.
_MOST_CHARACTERS = 255
# No system supports longer ones, and a small Parquet file can repeat a long one many times.
_MOST_OF_A_PATH = 4096


@dataclass(frozen=True, eq=False)
class _Listing:
    """Checked content of a table: columns of equal length.

    Attributes:
        paths: Image files, each listed once.
        labels: Names of classes.
        splits: Name of the split in each row; empty without this column.
        others: The other columns, by lower-case name.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    others: Mapping[str, Sequence[str]]


def load_table(name: str, *, data_dir: Path, on_bad_image: str = "fail", max_pixels: int = MAX_PIXELS) -> ImageDataset:
    """Return the dataset that a table lists.

    The table is CSV, TSV, JSON lines or Parquet. Its columns ``path`` (or ``file_name``) and ``label`` are required, in
    any case. ``split`` names train, val or test by any of the words that folders may have. Without it, the folders of
    the files are the splits, if named like splits; otherwise a seeded, stratified fifth is the test split. Other
    columns, such as ``group``, are kept with the images. The order of the rows changes nothing.

    Paths are relative to the table's folder, or to ``data_dir`` if more files are found there; they lead out of
    neither.

    Args:
        name: ``table:FILE``, or ``table:FOLDER`` for a ``metadata.csv`` or similar in it or in each of its splits.
        data_dir: Folder that paths may be relative to, and where the hashes of files are cached.
        on_bad_image: ``fail`` or ``skip``: what to do about files that are not images, missing or too large.
        max_pixels: Maximum number of pixels according to an image's header.

    Raises:
        InputError: If the table is missing, damaged or too large, or rows break a rule; the message names the rows.
        BadImageError: If a file is not an image, and ``on_bad_image`` is ``fail``.
    """
    # Links are not resolved: the files of a linked table lie next to the link.
    place = user_path(name.removeprefix("table:"), "dataset").absolute()
    if not is_utf8(str(place)):
        raise InputError(f"a table must have a name in UTF-8, got {printable(str(place))}; rename it")
    listing = _joined([_check(read_table(file), data_dir, on_bad_image) for file in _files(place)])
    class_names = _class_names(listing.labels)
    splits, skipped = splits_of_files(
        _by_split(place, listing, class_names),
        manifest=manifest_path(data_dir, place),
        on_bad_image=on_bad_image,
        max_pixels=max_pixels,
    )
    return build_dataset(
        name=name,
        short_name=printable(place.parent.name if place.stem.lower() == _METADATA else place.stem),
        class_names=class_names,
        splits={split: _with_columns(images, listing) for split, images in splits.items()},
        default_image_size=default_image_size(next(iter(splits.values()))),
        source=str(place),
        root=_root(place, data_dir, listing.paths),
        skipped=skipped,
    )


def _root(place: Path, data_dir: Path, paths: Sequence[str]) -> Path:
    """Return the folder that paths are relative to: the table's own, or ``data_dir``."""
    own = place if place.is_dir() else place.parent
    return own if all(path.startswith(f"{own}{os.sep}") for path in paths) else data_dir.absolute()


def _files(place: Path) -> list[Path]:
    """Return the table itself, or the tables in a folder with the layout of Hugging Face's image folders."""
    if not place.is_dir():
        return [place]
    for pattern in (f"{_METADATA}.*", f"*/{_METADATA}.*"):
        found = sorted(path for path in place.glob(pattern) if path.suffix.lower() in ENDINGS)
        if found:
            break
    if not found or len({path.parent for path in found}) < len(found):
        got = ", ".join(path.name for path in found[:3]) or "none"
        raise InputError(
            f"a folder must contain one {_METADATA}{{{','.join(ENDINGS)}}}, or one in each of its folders, got {got} "
            f"in "
            f"{printable(str(place))}; pass the file (table:FILE), or pass folder:{printable(str(place))}"
        )
    return found


def _joined(listings: Sequence[_Listing]) -> _Listing:
    names = {name: None for one in listings for name in one.others}
    return _Listing(
        [path for one in listings for path in one.paths],
        [label for one in listings for label in one.labels],
        [split for one in listings for split in one.splits] if all(one.splits for one in listings) else (),
        {name: [value for one in listings for value in one.others.get(name, [""] * len(one.paths))] for name in names},
    )


def _check(table: Table, data_dir: Path, on_bad_image: str) -> _Listing:
    """Return the checked content of a table.

    Raises:
        InputError: If columns are missing, or rows break a rule.
    """
    names = {name.lower(): name for name in table.columns}
    path_columns = [names[name] for name in _PATH_COLUMNS if name in names]
    if len(path_columns) != 1 or "label" not in names or len(names) < len(table.columns):
        raise InputError(
            "a table must have one column path (or file_name) and one column label, got "
            f"{shown(list(table.columns), 200)} in {printable(str(table.path))}; add them to its header"
        )
    paths, labels = table.columns[path_columns[0]], table.columns[names["label"]]
    splits = table.columns[names["split"]] if "split" in names else ()
    used = {path_columns[0], names["label"], names.get("split")}
    _refuse(
        table,
        paths,
        _is_path,
        f"paths must be file names of at most {_MOST_OF_A_PATH} characters",
        "fill them in, or remove these rows",
    )
    _refuse(
        table,
        labels,
        _is_label,
        f"labels must be names of at most {_MOST_CHARACTERS} characters without leading or trailing spaces",
        "fix them, or remove these rows",
    )
    _refuse(table, splits, _is_split, "splits must be train, val or test", "rename them, or remove these rows")
    return _Listing(
        locate(table, paths, data_dir, missing_allowed=on_bad_image == "skip"),
        [unicodedata.normalize("NFC", label) for label in labels],
        splits,
        {name.lower(): values for name, values in table.columns.items() if name and name not in used},
    )


def _refuse(table: Table, values: Sequence[str], is_right: Callable[[str], bool], rule: str, remedy: str) -> None:
    wrong = {value for value in set(values) if not is_right(value)}
    if wrong:
        refuse_rows(table, values, [index for index, value in enumerate(values) if value in wrong], rule, remedy)


def _is_path(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text and len(text) <= _MOST_OF_A_PATH


def _is_label(text: str) -> bool:
    return text == text.strip() and 0 < len(text) <= _MOST_CHARACTERS


def _is_split(text: str) -> bool:
    name = read_split_name(text)
    return name is not None and (name.sure or not name.rest)


def _class_names(labels: Iterable[str]) -> list[str]:
    """Return the classes in order, numerically if all are numbers."""
    names = set(labels)
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _by_split(place: Path, listing: _Listing, class_names: Sequence[str]) -> dict[str, LabelledPaths]:
    """Return the files of each split by class, then by path; under ``all`` if no split is given."""
    names = listing.splits or _folders(listing)
    roles = {name: found.role for name in set(names) if (found := read_split_name(name))}
    if listing.splits and not are_splits(roles.values()):
        raise InputError(
            f"the splits of a table must be train and at least one of val and test, got {', '.join(sorted(roles))} in "
            f"{printable(str(place))}; leave the column out for a seeded split"
        )
    splits = splits_of_roles(set(roles.values()))
    for name, role in sorted(roles.items()):
        if splits[role] != role:
            logger.warning("%s: %s is the %s split", place, printable(name), splits[role])
    label_of = {name: label for label, name in enumerate(class_names)}
    present = [split for split in ("train", "val", "test") if split in splits.values()]
    listed: dict[str, LabelledPaths] = {split: [] for split in present or ["all"]}
    rows = zip(listing.paths, listing.labels, names or ["all"] * len(listing.paths), strict=True)
    for path, label, name in sorted(rows, key=lambda row: (label_of[row[1]], row[0])):
        listed[splits[roles[name]] if roles else "all"].append((path, label_of[label]))
    return listed


def _folders(listing: _Listing) -> list[str]:
    """Return each file's folder below the common parent, if these are named like splits; otherwise an empty list."""
    # The common prefix of the first and the last in order is common to all.
    common = os.path.commonpath([min(listing.paths), max(listing.paths)])
    n_common = len(common.rstrip(os.sep)) + 1
    folders = [path[n_common:].partition(os.sep)[0] for path in listing.paths]
    names = [read_split_name(folder) for folder in set(folders)]
    known = [name.role for name in names if name is not None and name.sure]
    if len(known) < len(names) or not are_splits(known) or set(folders) <= set(listing.labels):
        return []
    logger.info("splits are read from the folder names %s", ", ".join(sorted(set(folders))))
    return folders


def _with_columns(split: ImageSplit, listing: _Listing) -> ImageSplit:
    assert split.paths is not None
    row_of = {path: row for row, path in enumerate(listing.paths)}
    rows = [row_of[path] for path in as_file_paths(split.paths).texts]
    return replace(split, columns={name: tuple(values[row] for row in rows) for name, values in listing.others.items()})
