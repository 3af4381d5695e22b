"""Sources for monitoring: a folder of images, an output file of ``predict``, or a folder of them, in a time window."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import content_id
from resnet_mlflow.data.folder import find_images
from resnet_mlflow.data.table_files import Table, read_table
from resnet_mlflow.data.walking import check_root
from resnet_mlflow.errors import InputError, printable, shown
from resnet_mlflow.files.digests import file_sha256
from resnet_mlflow.files.moments import seconds_of
from resnet_mlflow.files.paths import is_file, user_path
from resnet_mlflow.monitoring.changes import FEWEST
from resnet_mlflow.monitoring.observed import Observed

ENDINGS = (".csv", ".parquet")
_SCORE = "score_"


@dataclass(frozen=True, eq=False)
class Answers:
    """A classifier's answers, as written by ``predict``.

    Attributes:
        paths: Paths of the images, as in the files, ``(n_images,)``.
        observed: Labels and confidences.
    """

    paths: tuple[str, ...]
    observed: Observed


@dataclass(frozen=True)
class Source:
    """The files of a batch.

    Attributes:
        files: Images, or output files of ``predict``.
        are_images: Whether they are images.
        description: Description in words.
    """

    files: tuple[Path, ...]
    are_images: bool
    description: str

    @property
    def digest(self) -> str:
        """Return 32 hexadecimal digits over the content of the files, independent of names and order."""
        return content_id("\n".join(sorted(map(_digest, self.files))).encode())


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:  # reading it reports the problem
        return ""


def find_source(text: str, since: str = "", until: str = "") -> Source:
    """Return the files of a source.

    Args:
        text: A folder of images with its subfolders, a CSV or Parquet file from ``predict``, or a folder of these
            files.
        since: Day or time; only files changed then or later.
        until: Day or time; only files changed before.

    Raises:
        InputError: If there are no files, or both images and tables.
    """
    path, within = user_path(text, "source"), _window(since, until)
    start, end = (seconds_of(name, given) if given else None for name, given in (("since", since), ("until", until)))
    found, are_images = _all(path)
    files = tuple(file for file in found if _is_within(file, start, end))
    if not files:
        raise InputError(
            f"source must contain files modified{within}, got none of {len(found)} in {printable(str(path))}; "
            "pass another since or until"
        )
    what = (
        "images" if are_images else "predictions in 1 file" if len(files) == 1 else f"predictions in {len(files)} files"
    )
    return Source(files, are_images, f"{what} of {printable(str(path))}{within}")


def _window(since: str, until: str) -> str:
    return (f" since {since}" if since else "") + (f" until {until}" if until else "")


def _is_within(file: Path, start: float | None, end: float | None) -> bool:
    if start is None and end is None:
        return True
    try:
        changed = file.stat().st_mtime
    except OSError:
        return True  # reading it reports the problem
    return (start is None or changed >= start) and (end is None or changed < end)


def _all(path: Path) -> tuple[list[Path], bool]:
    if is_file(path):
        if path.suffix.lower() not in ENDINGS:
            raise InputError(
                f"source must be a folder or a file of predictions ({', '.join(ENDINGS)}), got "
                f"{printable(str(path))}; name another"
            )
        return [path], False
    check_root(path, "source must be an existing folder or file")
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS and is_file(file))
    try:
        images = find_images(path)
    except InputError:
        if tables:
            return tables, False
        raise InputError(
            f"source must contain images or predictions ({', '.join(ENDINGS)}), got neither in {printable(str(path))}; "
            "name another folder"
        ) from None
    if tables:
        raise InputError(
            f"source must contain either images or predictions, got both in {printable(str(path))} "
            f"({printable(tables[0].name)} among them); pass one of them"
        )
    return images, True


def read_answers(files: Sequence[Path], class_names: Sequence[str]) -> Answers:
    """Return a classifier's answers from output files of ``predict``.

    Args:
        files: CSV or Parquet.
        class_names: Class names of the classifier.

    Raises:
        InputError: If a file has other classes, is damaged, or is not from ``predict``.
    """
    parts = [_read(read_table(file), tuple(class_names)) for file in files]
    observed = Observed(
        np.concatenate([part.observed.labels for part in parts]),
        np.concatenate([part.observed.confidences for part in parts]),
    )
    return Answers(tuple(path for part in parts for path in part.paths), observed)


def _read(table: Table, class_names: tuple[str, ...]) -> Answers:
    where, columns = printable(str(table.path)), table.columns
    theirs = [name.removeprefix(_SCORE) for name in columns if name.startswith(_SCORE)]
    if "label" not in columns or not theirs:
        raise InputError(
            f"predictions must have the columns label and {_SCORE}<class> that predict writes, got "
            f"{shown(list(columns))} in {where}; create them with predict"
        )
    if set(theirs) != set(class_names):
        raise InputError(
            f"predictions must have the model's classes, {shown(list(class_names))}, got {shown(theirs)} in {where}; "
            f"pass the model that wrote them"
        )
    place = {name: index for index, name in enumerate(class_names)}
    foreign = [row for row, name in enumerate(columns["label"]) if name not in place]
    if foreign:
        raise InputError(
            f"labels must be classes of the model, got others in {table.list_rows(foreign)}; create them again with "
            f"predict"
        )
    labels = np.array([place[name] for name in columns["label"]], dtype=np.int64)
    paths = tuple(columns.get("path", [""] * len(labels)))
    return Answers(paths, Observed(labels, _confidences(table, class_names)))


def _confidences(table: Table, class_names: tuple[str, ...]) -> NDArray[np.float32]:
    best = np.full(len(table.rows), -np.inf, dtype=np.float32)
    for name in class_names:
        try:
            best = np.maximum(best, np.array(table.columns[f"{_SCORE}{name}"], dtype=np.float32))
        except ValueError:
            best = np.full(len(best), np.nan)
    wrong = np.flatnonzero(~((best >= 0) & (best <= 1.001)))
    if len(wrong):
        raise InputError(
            f"scores must be probabilities from 0 to 1, got others in {table.list_rows(wrong.tolist())}; create them "
            f"again "
            f"with predict"
        )
    return best


def check_enough(n_images: int, message: str = "") -> None:
    """Refuse a batch of too few images.

    Raises:
        InputError: If there are fewer than ``FEWEST``; the message gives the number needed.
    """
    if n_images < FEWEST:
        raise InputError(
            f"a batch must have at least {FEWEST} images, got {n_images}{message}; wait for more, or use a longer time "
            f"window"
        )
