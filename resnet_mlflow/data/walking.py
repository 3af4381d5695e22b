"""Folders of unknown origin, read completely: no link is followed twice, and nothing is skipped silently."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from resnet_mlflow.data.clutter import is_clutter
from resnet_mlflow.data.formats import EXTENSIONS, extension_of
from resnet_mlflow.errors import InputError, printable

# Their files represent the system's state: some never end, and links in them lead everywhere.
_PSEUDO = frozenset(
    {
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
        *("efivarfs", "fusectl", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "sysfs", "tracefs"),
    }
)


class Place(NamedTuple):
    """The identity of a folder, whichever path leads to it."""

    device: int
    inode: int


@dataclass(frozen=True)
class Walk:
    """The content below some folders.

    Attributes:
        files: Per folder, (parent, name) of its files, depth first, in order of names.
        unreadable: Per folder, the folders below it that could not be read.
        not_followed: Links to folders that are read through another path.
    """

    files: list[list[tuple[str, str]]]
    unreadable: list[list[Path]]
    not_followed: list[Path]


def is_utf8(name: str) -> bool:
    """Return whether the bytes of a name are UTF-8: Python shows others as lone surrogates, which cannot be encoded."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def check_root(folder: Path, rule: str) -> None:
    """Refuse a path that is not a readable folder on a disk.

    Args:
        folder: Any path.
        rule: Begins the message, such as ``images must be an existing folder``.

    Raises:
        InputError: If it does not exist, is not a folder, is unreadable, or belongs to the system, like ``/proc``.
    """
    shown = printable(str(folder))
    if not is_utf8(str(folder)):
        raise InputError(f"{rule} with a name in UTF-8, got {shown}; rename it")
    try:
        if not folder.is_dir():
            raise InputError(f"{rule}, got {shown}; check the path")
        if kind := _pseudo_file_systems().get(folder.stat().st_dev):
            raise InputError(f"{rule} on a disk, got {shown}, a system folder ({kind}); pass another")
        with os.scandir(folder):
            return
    except OSError as error:
        raise InputError(
            f"{rule} and be readable, got {shown} ({error.strerror}); check path and permissions"
        ) from None


def distinct_folders(folder: Path, outside: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the subfolders by name, and the links among them that lead to another of them, or to ``outside``.

    Args:
        folder: Folder to search; hidden folders and clutter do not count.
        outside: Folders that no link may lead to, such as parent folders.
    """
    with os.scandir(folder) as entries:
        folders = sorted(Path(entry) for entry in entries if not is_clutter(entry.name) and _leads_to_folder(entry))
    seen = {_place(path) for path in outside}
    repeated = []
    for path in sorted(folders, key=Path.is_symlink):
        place = _place(path)
        if place is not None and place in seen and path.is_symlink():
            repeated.append(path)
        seen.add(place)
    return [path for path in folders if path not in repeated], repeated


class Glance(NamedTuple):
    """A folder's direct content: its subfolders by name, or only that it has images, if there are any."""

    folders: tuple[Path, ...]
    has_images: bool


def glance(folder: Path) -> Glance:
    """Return a folder's direct content as far as it is readable; the first image ends the search."""
    folders = []
    place = _place(folder)
    if place is None or place.device in _pseudo_file_systems():
        return Glance((), False)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_clutter(entry.name):
                    continue
                if _leads_to_folder(entry):
                    folders.append(Path(entry))
                elif extension_of(entry.name) in EXTENSIONS:
                    return Glance((), True)
    except OSError:
        # Reading it later reports this.
        return Glance((), False)
    return Glance(tuple(sorted(folders)), False)


def walk(roots: Iterable[Path], outside: Iterable[Path]) -> Walk:
    """Return the content below several folders, each file once.

    Files that are really in a folder belong to it. Links to folders are followed afterwards, and only to places that no
    other path has reached: not back up, and not into another of the folders.

    Args:
        roots: Folders to search.
        outside: Further folders that links may not lead to, such as parent folders.
    """
    walker = _Walker({_place(path) for path in outside})
    roots = list(roots)
    links = [root for root in roots if root.is_symlink()]
    links += [link for root in roots if not root.is_symlink() for link in walker.enter(root)]
    while links:
        links += walker.enter(links.pop(0))
    listed = [walker.tell(str(root)) for root in roots]
    return Walk([files for files, _ in listed], [unreadable for _, unreadable in listed], walker.not_followed)


class _Walker:
    """Folders read so far, by the path that led to them."""

    def __init__(self, visited: set[Place | None]) -> None:
        self.visited = visited
        self.not_followed: list[Path] = []
        # Names of files and of folders; None if it cannot be read.
        self._listings: dict[str, tuple[list[str], list[str]] | None] = {}

    def enter(self, start: Path) -> list[Path]:
        """Read a folder and the real folders below it, and return the links to folders in them."""
        links: list[Path] = []
        waiting = [str(start)]
        while waiting:
            folder = waiting.pop()
            place = _place(Path(folder))
            if place in self.visited and place is not None:
                self.not_followed.append(Path(folder))
                continue
            self.visited.add(place)
            real, linked = self._list(folder, place)
            waiting += real
            links += map(Path, linked)
        return sorted(links)

    def _list(self, folder: str, place: Place | None) -> tuple[list[str], list[str]]:
        files, real, linked = [], [], []
        self._listings[folder] = None
        if place is None or place.device in _pseudo_file_systems():
            return [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_clutter(entry.name):
                        continue
                    if not _leads_to_folder(entry):
                        files.append(entry.name)
                    elif entry.is_symlink():
                        linked.append(entry.path)
                    else:
                        real.append(entry.path)
        except OSError:
            return [], []
        files.sort()
        self._listings[folder] = (files, sorted(real + linked))
        return real, linked

    def tell(self, root: str) -> tuple[list[tuple[str, str]], list[Path]]:
        """Return the files below a folder as (parent, name), and the folders that could not be read."""
        files: list[tuple[str, str]] = []
        unreadable: list[Path] = []
        waiting = [root] if root in self._listings else []
        while waiting:
            folder = waiting.pop()
            listing = self._listings[folder]
            if listing is None:
                unreadable.append(Path(folder))
                continue
            files += [(folder, name) for name in listing[0]]
            waiting += [below for below in reversed(listing[1]) if below in self._listings]
        return files, unreadable


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Counts as unreadable.
        return True


def _place(folder: Path) -> Place | None:
    """Return the real place of a folder; None if it cannot be reached."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return Place(status.st_dev, status.st_ino)


@lru_cache(maxsize=1)
def _pseudo_file_systems() -> dict[int, str]:
    """Return, by device, the kind of each mounted file system without user files; empty if unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    kinds = {}
    for line in lines:
        # id, parent, major:minor, root, mount point, options, ..., "-", kind, ... (proc(5))
        fields = line.split()
        kind = fields[fields.index("-") + 1]
        if kind in _PSEUDO:
            major, minor = fields[2].split(":")
            kinds[os.makedev(int(major), int(minor))] = kind
    return kinds
