"""Finds the splits and classes in a folder, by the names of folders and by what they have in common."""

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from resnet_mlflow.data.split_names import SplitName, are_splits, read_split_name, splits_of_roles
from resnet_mlflow.data.table_files import ENDINGS
from resnet_mlflow.data.walking import Glance, distinct_folders, glance
from resnet_mlflow.errors import InputError, printable

logger = logging.getLogger(__name__)

# More folders than this are classes, whatever they have in common.
_MOST_SPLITS = 50


class Layout(NamedTuple):
    """Where splits and classes are.

    Attributes:
        top: The folder that holds the splits, or the classes of all images.
        splits: The folder of each split's classes; ``all`` without splits.
        repeated: Links next to the splits that lead to folders that are read anyway.
        beside: Folders next to the splits that are not splits.
    """

    top: Path
    splits: dict[str, Path]
    repeated: list[Path]
    beside: list[Path]


class _Candidate(NamedTuple):
    folder: Path
    name: SplitName
    content: Glance


def find_layout(root: Path) -> Layout:
    """Return where the splits of a dataset's folder are, even if it holds nothing but another folder with them.

    Folders are splits if their names say so (``data.split_names``) and differ in nothing else, like ``seg_train`` and
    ``seg_test``, or if they hold the same folders, as splits do with their classes.

    Raises:
        InputError: If there is no folder, several for one split, or if folders with other names look like splits.
    """
    top = root
    while True:
        folders, repeated = distinct_folders(top, [top, *top.parents])
        if not folders:
            raise InputError(_no_folders(top))
        chosen = _choose(folders)
        if chosen:
            return Layout(top, _class_levels(_one_folder_each(top, chosen)), repeated, _beside(folders, chosen))
        inner = _inner(top, folders)
        if inner is None:
            _refuse_other_layouts(top, folders)
            return Layout(top, {"all": top}, [], [])
        logger.warning("%s: the dataset is read from its subfolder %s", top, printable(str(inner.relative_to(top))))
        top = inner


def _choose(folders: Iterable[Path]) -> list[_Candidate]:
    """Return the folders that are splits; none if they are classes."""
    named = ((folder, read_split_name(folder.name)) for folder in folders)
    candidates = [_Candidate(folder, name, glance(folder)) for folder, name in named if name is not None]
    chosen = _named_alike(candidates)
    if not chosen:
        return _held_alike(candidates)
    # A folder with a different name is a split if it holds the same classes and there is no other for that split.
    roles = {one.name.role for one in chosen}
    others = [one for one in candidates if one.name.role not in roles]
    return chosen + [one for one in others if any(_hold_same(one, known) for known in chosen)]


def _one_folder_each(top: Path, chosen: Iterable[_Candidate]) -> dict[str, Path]:
    """Return the folder of each split, and log splits that are used as a different one.

    Raises:
        InputError: If there are several for one split.
    """
    chosen = list(chosen)
    splits = splits_of_roles({one.name.role for one in chosen})
    found: dict[str, Path] = {}
    for one in chosen:
        split = splits[one.name.role]
        if split in found:
            raise InputError(
                f"each split must be one folder, got {found[split].name!r} and {one.folder.name!r} for {split} in "
                f"{printable(str(top))}; merge them, move one away, or list the images in a table (table:FILE)"
            )
        found[split] = one.folder
        if split != one.name.role:
            hint = "" if "val" in splits.values() else ", and validation is drawn from train"
            logger.warning("%s: %s is the %s split%s", top, printable(one.folder.name), split, hint)
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _beside(folders: Iterable[Path], chosen: Iterable[_Candidate]) -> list[Path]:
    read = {one.folder for one in chosen}
    return [folder for folder in folders if folder not in read]


def _named_alike(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates whose names form a dataset's splits and differ only in the words for splits."""
    groups: dict[tuple[str, ...], list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault(one.name.rest, []).append(one)
    return [
        one
        for group in groups.values()
        if are_splits(one.name.role for one in group)
        and (all(one.name.sure for one in group) or any(_trains(one) for one in group))
        for one in group
    ]


def _held_alike(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates that form a dataset's splits by their content, including one training split."""
    trains = [one for one in candidates if _trains(one)]
    held_out = [
        one
        for one in candidates
        if one.name.role != "train" and (one.name.sure or any(_hold_same(one, other) for other in trains))
    ]
    return [*trains, *held_out] if trains and held_out else []


def _trains(one: _Candidate) -> bool:
    """Return whether a folder is named like a training split, and holds folders as one does."""
    return one.name.role == "train" and len(one.content.folders) > 1


def _hold_same(one: _Candidate, other: _Candidate) -> bool:
    return _are_alike(_names(one.content.folders), _names(other.content.folders))


def _are_alike(names: frozenset[str], others: frozenset[str]) -> bool:
    """Return whether at least half of two sets of names is common to both; a single name is no evidence."""
    return len(names | others) > 1 and 2 * len(names & others) >= len(names | others)


def _names(folders: Iterable[Path]) -> frozenset[str]:
    return frozenset(unicodedata.normalize("NFC", folder.name) for folder in folders)


def _class_levels(splits: Mapping[str, Path]) -> dict[str, Path]:
    """Return the folders that hold each split's classes: usually those of the splits themselves."""
    inner = {split: _innermost(folder) for split, folder in splits.items()}
    below = [_names(glance(folder).folders) for folder in inner.values()]
    all_alike = all(inner[split] != splits[split] for split in splits) and all(
        _are_alike(one, other) for one, other in combinations(below, 2)
    )
    levels = {
        split: inner[split] if all_alike or _same_name(inner[split], folder) else folder
        for split, folder in splits.items()
    }
    for split, folder in levels.items():
        if folder != splits[split]:
            logger.warning("%s: the classes are read from its subfolder %s", splits[split], printable(folder.name))
    return levels


def _innermost(folder: Path) -> Path:
    """Return the first folder from here down that holds anything but a single folder."""
    content = glance(folder)
    # Not through links, which may lead back.
    while (
        len(content.folders) == 1
        and not content.folders[0].is_symlink()
        and (below := glance(content.folders[0])).folders
    ):
        folder, content = content.folders[0], below
    return folder


def _same_name(folder: Path, other: Path) -> bool:
    names = [unicodedata.normalize("NFC", path.name).casefold() for path in (folder, other)]
    return folder != other and names[0] == names[1]


def _inner(top: Path, folders: Sequence[Path]) -> Path | None:
    """Return the only inner folder if it holds the dataset, or None if the dataset is here.

    Raises:
        InputError: If that folder could be either the dataset or its only class.
    """
    if len(folders) > 1:
        return None
    (folder,) = folders
    inner = _innermost(folder)
    below = glance(inner).folders
    if _choose(below):
        return inner
    if len(below) < 2:
        return None
    if _same_name(inner, top):
        return inner
    name = read_split_name(folder.name)
    if name and name.role == "train":
        raise InputError(
            f"a train folder must have a test or val folder next to it, got neither in {printable(str(top))}; pass "
            f"folder:{printable(str(inner))} for a seeded split"
        )
    raise InputError(
        f"the dataset's folder must contain several folders, got only {folder.name!r}, with {len(below)} folders, in "
        f"{printable(str(top))}; pass folder:{printable(str(inner))} if these are the classes"
    )


def _refuse_other_layouts(top: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that, by their content, are not classes: splits with other names, or datasets.

    Raises:
        InputError: If several hold the same folders, or one holds splits.
    """
    held = {folder: below for folder in folders[:_MOST_SPLITS] if (below := glance(folder).folders)}
    shown = printable(str(top))
    for folder, below in held.items():
        if splits := _choose(below):
            first, content = next((one.folder, one.content) for one in splits if one.name.role == "train")
            if content.has_images:
                raise InputError(
                    f"splits must contain the classes, got classes that contain splits, such as "
                    f"{folder.name}/{first.name}, "
                    f"in {shown}; swap them ({first.name}/{folder.name}), or list the images in a table (table:FILE)"
                )
            raise InputError(
                f"the dataset's folder must contain splits or classes, got splits one level down, in {folder.name!r} "
                f"of "
                f"{shown}; name folder:{printable(str(folder))}"
            )
    names = {folder: _names(below) for folder, below in held.items()}
    for one, other in combinations(names, 2):
        if _are_alike(names[one], names[other]):
            common = ", ".join(map(repr, sorted(names[one] & names[other])[:3]))
            raise InputError(
                f"classes must not contain the same subfolders as each other, as splits do, got {common} in "
                f"{one.name!r} and "
                f"{other.name!r} of {shown}; call the splits train, val and test, or pass one of them, "
                f"folder:{printable(str(one))}, or the images in a table (table:FILE)"
            )


def _no_folders(top: Path) -> str:
    shown = printable(str(top))
    rule = f"the dataset's folder must contain one folder per class, got none in {shown}"
    tables = sorted(path for path in top.glob("metadata.*") if path.suffix.lower() in ENDINGS)
    if tables:
        return f"{rule}, but a table; pass table:{printable(str(tables[0]))}"
    if glance(top).has_images:
        remedy = "list the labels in a table (table:FILE), or use predict to label them"
        return f"{rule}, but images without labels; {remedy}"
    return f"{rule}; add them"
