"""Images of a NumPy archive: the kind of dataset that ``test_adding`` adds by CONTRIBUTING's recipe."""

from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, build_dataset, split_of_arrays


def load_npz(name: str, **_: object) -> ImageDataset:
    """Return the dataset of ``npz:FILE``: arrays ``images`` (n, height, width, 3) uint8 and ``labels`` (n,)."""
    path = Path(name.removeprefix("npz:"))
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    return build_dataset(
        name=name,
        short_name=path.stem,
        class_names=[f"class {label}" for label in range(labels.max() + 1)],
        splits={"all": split_of_arrays(images, labels)},
        default_image_size=32,
        source=str(path),
    )
