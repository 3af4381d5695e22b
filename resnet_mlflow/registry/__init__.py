"""Registries: one row per head, backbone and kind of dataset, from which everything else is derived.

The command line, ``MLproject``, help texts, search spaces, colours, tables in the docs and test parameters read these
rows, so that an addition takes one row and the file it names. Since ``config`` depends on the rows and offers them as
choices, rows name their code as text, ``module:attribute``, which is imported on first use.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol, TypeVar

from resnet_mlflow.errors import InputError, nearest


class Named(Protocol):
    """A row: it has a name."""

    @property
    def name(self) -> str:
        """The name that users write."""


RowT = TypeVar("RowT", bound=Named)


class Registry(Mapping[str, RowT]):
    """Rows by name, in the order in which they are shown.

    Args:
        what: Kind of row, such as ``head``; errors begin with it.
        rows: The rows; their names must differ.

    Example:
        >>> from resnet_mlflow.registry.heads import HEADS
        >>> HEADS.find("svmm")
        Traceback (most recent call last):
        resnet_mlflow.errors.InputError: head must be one of svm, knn, mlp, prototype, linear, got 'svmm'; did you ...
    """

    def __init__(self, what: str, *rows: RowT) -> None:
        self.what = what
        self._rows: dict[str, RowT] = {}
        for row in rows:
            self.add(row)

    def add(self, row: RowT) -> None:
        """Append a row.

        Raises:
            ValueError: If there is already one with that name.
        """
        if row.name in self._rows:
            raise ValueError(f"names of rows must differ, got the {self.what} {row.name!r} twice")
        self._rows[row.name] = row

    def find(self, name: str) -> RowT:
        """Return the row for a name from the user.

        Raises:
            InputError: If there is none.
        """
        if name not in self._rows:
            raise InputError(f"{self.what} must be one of {', '.join(self)}, got {name!r}{nearest(name, self)}")
        return self._rows[name]

    def __getitem__(self, name: str) -> RowT:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def load(reference: str) -> Any:
    """Return the object that a row names.

    Args:
        reference: ``module:attribute``.

    Example:
        >>> load("resnet_mlflow.errors:nearest")("smv", ["svm"])
        "; did you mean 'svm'?"
    """
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
