"""The images behind features, and the facts about each: its file, its group, and its slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.file_paths import as_file_paths
from resnet_mlflow.data.grouping import named_groups
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.tracking import SLICE


@dataclass(frozen=True, eq=False)
class Items:
    """The items of a split used for training or evaluation.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        images: Images of a split of the dataset, which may be more.
        rows: Rows of ``images``, in the order of the items.
        paths: Files relative to the dataset's folder; empty texts if images are not files.
        groups: Shared value of each item's group.
        slices: Value of each item, by column of a table.
    """

    split: str
    images: ImageSplit
    rows: NDArray[np.int64]
    paths: list[str]
    groups: list[str]
    slices: Mapping[str, Sequence[str]]

    def read_image(self, row: int) -> NDArray[np.uint8]:
        """Return the image of an item, ``(height, width, 3)``."""
        return self.images.read_image(int(self.rows[row]))

    @property
    def named(self) -> list[str]:
        """Return the files of items for figures; empty if images are not files."""
        return self.paths if self.images.paths is not None else []

    def frame(self) -> pd.DataFrame:
        """Return one row per item: ``path``, ``group``, ``split``, and ``slice_<column>`` of each slice."""
        slices = {f"{SLICE}{name}": values for name, values in self.slices.items()}
        return pd.DataFrame({"path": self.paths, "group": self.groups, "split": self.split, **slices})


def items_of(dataset: ImageDataset, split: str, features: FeatureSplit, slices: Sequence[str] = ()) -> Items:
    """Return the items behind features.

    Args:
        dataset: The dataset of the features.
        split: ``train``, ``val`` or ``test`` by its use; validation may be drawn from train.
        features: Features of the items; unreadable images have none.
        slices: Columns of the dataset's table to include.
    """
    images = dataset.splits[split if split in dataset.splits else "train"]
    rows = rows_of(images, features)
    few = ImageSplit(
        images.labels[rows],
        images.item_ids[rows],
        images=np.empty((len(rows), 0, 0), dtype=np.uint8) if images.paths is None else None,
        paths=None if images.paths is None else as_file_paths(images.paths).take(rows.tolist()),
        group_numbers=images.groups[rows],
    )
    columns = {name: [images.columns[name][row] for row in rows] for name in slices}
    return Items(split, images, rows, dataset.relative_paths(few), named_groups(dataset, few), columns)


def rows_of(images: ImageSplit, features: FeatureSplit) -> NDArray[np.int64]:
    """Return the row of each feature's image, by its number, or by its content if numbers are unknown."""
    if features.items is not None and images.items is not None:
        order = np.argsort(images.items)
        places = np.searchsorted(images.items, features.items, sorter=order).clip(max=len(order) - 1)
        if np.array_equal(images.items[order[places]], features.items):
            return np.asarray(order[places])
    row_of = {item_id: row for row, item_id in enumerate(images.item_ids.tolist())}
    return np.array([row_of[item_id] for item_id in features.item_ids.tolist()], dtype=np.int64)
