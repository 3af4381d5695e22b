"""The kinds of dataset: one row each, and a loader in ``resnet_mlflow.data``."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from resnet_mlflow.registry import Registry, load


@dataclass(frozen=True)
class DatasetKind:
    """One way to name a dataset.

    Attributes:
        name: Name of the kind. A dataset is written like this, or as ``name:PLACE`` if ``place`` is set.
        loader: ``(name, *, data_dir, on_bad_image, max_pixels) -> ImageDataset``, as ``module:attribute``.
        place: Placeholder for the part after the colon, such as ``PATH``; empty if there is none.
        names: Names of its datasets, ``module:attribute``, for a kind with many datasets and no colon.
    """

    name: str
    loader: str
    place: str = ""
    names: str = ""

    @property
    def written(self) -> str:
        """Return the notation for help and errors."""
        return f"{self.name}:{self.place}" if self.place else f"a {self.name} name" if self.names else self.name

    def accepts(self, dataset: str) -> bool:
        """Return whether a dataset is of this kind."""
        return dataset.startswith(f"{self.name}:") if self.place else dataset in self.known

    @property
    def known(self) -> Collection[str]:
        """Return its names that have no colon."""
        names: Any = load(self.names) if self.names else () if self.place else (self.name,)
        return tuple(names)


DATASETS = Registry(
    "dataset",
    DatasetKind("digits", "resnet_mlflow.data.digits:load_digits"),
    DatasetKind("folder", "resnet_mlflow.data.folder:load_folder", place="PATH"),
    DatasetKind("table", "resnet_mlflow.data.table:load_table", place="FILE"),
    DatasetKind(
        "torchvision",
        "resnet_mlflow.data.torchvision_datasets:load_torchvision",
        names="resnet_mlflow.data.torchvision_datasets:TABLE",
    ),
)
