"""Locates the files of a table's paths, only within the permitted folders."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from resnet_mlflow.data.table_files import Table
from resnet_mlflow.errors import InputError, shown


class _Located(NamedTuple):
    paths: list[str]
    outside: list[int]
    missing: list[int]

    @property
    def n_wrong(self) -> int:
        return len(self.outside) + len(self.missing)


def locate(table: Table, texts: Sequence[str], data_dir: Path, *, missing_allowed: bool) -> list[str]:
    """Return the absolute path of each row's file.

    Paths are relative to the table's folder or to ``data_dir``, whichever has more of the files. They may use Windows
    separators, or another Unicode normal form than the file system.

    Args:
        table: The table, for errors.
        texts: Paths as written.
        data_dir: The other folder.
        missing_allowed: Whether files may be missing; the image reader counts them later.

    Raises:
        InputError: If a path leads out of both folders, a file is in several rows, or is missing.
    """
    starts = [os.path.abspath(folder) for folder in (table.path.parent, data_dir)]  # noqa: PTH100 - links stay
    bounds = tuple(
        f"{folder.rstrip(os.sep)}{os.sep}" for start in starts for folder in (start, os.path.realpath(start))
    )
    found = _locate(starts[0], texts, bounds)
    if found.n_wrong:
        found = min(found, _locate(starts[1], texts, bounds), key=lambda one: one.n_wrong)
    if found.outside:
        refuse_rows(
            table,
            texts,
            found.outside,
            f"paths must stay inside the table's folder or data_dir ({starts[1]})",
            "pass data_dir=FOLDER, a folder that contains all images",
        )
    counts = Counter(found.paths)
    if len(counts) < len(found.paths):
        repeated = [index for index, path in enumerate(found.paths) if counts[path] > 1]
        refuse_rows(table, texts, repeated, "a file must be in one row only", "remove the other rows")
    if found.missing and (not missing_allowed or len(found.missing) == len(texts)):
        refuse_rows(
            table,
            texts,
            found.missing,
            "paths must name files, from the table's folder or from data_dir",
            "check them, pass the data_dir=FOLDER they are relative to, or leave missing files out with "
            "on_bad_image=skip",
        )
    return found.paths


def refuse_rows(table: Table, values: Sequence[str], indices: Sequence[int], rule: str, remedy: str) -> NoReturn:
    """Refuse rows by their numbers, with the value of the first.

    Raises:
        InputError: Always.
    """
    raise InputError(f"{rule}, got {shown(values[indices[0]])} in {table.list_rows(indices)}; {remedy}")


def _locate(start: str, texts: Iterable[str], bounds: tuple[str, ...]) -> _Located:
    found = _Located([], [], [])
    for index, text in enumerate(texts):
        path, is_there = _find(start, text)
        found.paths.append(path)
        if not f"{path}{os.sep}".startswith(bounds):
            found.outside.append(index)
        elif not is_there:
            found.missing.append(index)
    return found


def _find(start: str, text: str) -> tuple[str, bool]:
    """Return the path for a text, links not resolved, and whether the file exists."""
    first = _joined(start, text)
    if os.path.isfile(first):  # noqa: PTH113 - called once per row
        return first, True
    if text.isascii() and "\\" not in text:
        return first, False
    slashed = text.replace("\\", "/")
    others = [_joined(start, unicodedata.normalize(form, slashed)) for form in ("NFC", "NFD")]
    others.append(_joined(start, slashed))
    return next(((path, True) for path in others if os.path.isfile(path)), (others[-1], False))  # noqa: PTH113


def _joined(start: str, text: str) -> str:
    # ".." is resolved before the system sees it: after a link it would lead elsewhere.
    return os.path.normpath(os.path.join(start, text))  # noqa: PTH118
