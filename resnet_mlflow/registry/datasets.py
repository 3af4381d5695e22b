"""Which kinds of dataset there are: a row each, and a loader in ``resnet_mlflow.data``."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from resnet_mlflow.registry import Registry, load


@dataclass(frozen=True)
class DatasetKind:
    """One way to name a dataset.

    Attributes:
        name: Of the kind. A dataset is called so, or ``name:PLACE`` where ``place`` says what that is.
        loader: ``(name, *, data_dir, on_bad_image, max_pixels) -> ImageDataset``, as ``module:attribute``.
        place: What follows the colon, such as ``PATH``; empty where nothing does.
        names: Where its names are, ``module:attribute``, for a kind of many datasets without a colon.
    """

    name: str
    loader: str
    place: str = ""
    names: str = ""

    @property
    def written(self) -> str:
        """Return how it is written, for help and errors."""
        return f"{self.name}:{self.place}" if self.place else f"a {self.name} name" if self.names else self.name

    def accepts(self, dataset: str) -> bool:
        """Return whether a dataset is of this kind."""
        return dataset.startswith(f"{self.name}:") if self.place else dataset in self.known

    @property
    def known(self) -> Collection[str]:
        """Return the names that it has without a colon."""
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
