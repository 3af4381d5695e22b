"""Many paths, kept as texts: constructing 100 000 path objects takes half a second."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload


class FilePaths(Sequence[Path]):
    """A sequence of paths that are constructed on access.

    Args:
        texts: Paths as strings.

    Attributes:
        texts: All paths as strings.

    Example:
        >>> paths = FilePaths(["a/0.png", "a/1.png", "b/0.png"])
        >>> paths[1].name, paths.take([2, 0]).texts
        ('1.png', ('b/0.png', 'a/0.png'))
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "FilePaths": ...

    def __getitem__(self, index: int | slice) -> "Path | FilePaths":
        return FilePaths(self.texts[index]) if isinstance(index, slice) else Path(self.texts[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilePaths) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def take(self, rows: Iterable[int]) -> "FilePaths":
        """Return the paths at some positions, in that order."""
        return FilePaths(self.texts[row] for row in rows)


def as_file_paths(paths: Iterable[Path]) -> FilePaths:
    """Return paths as ``FilePaths``, unchanged if they already are."""
    return paths if isinstance(paths, FilePaths) else FilePaths(map(str, paths))
