"""Datasets by name."""

import logging
from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, build_dataset, split_of_arrays
from resnet_mlflow.errors import InputError, nearest

logger = logging.getLogger(__name__)


def load_dataset(name: str, *, data_dir: Path, on_bad_image: str = "fail") -> ImageDataset:
    """Return a dataset by its name.

    Args:
        name: ``digits``, ``folder:PATH``, or a name in ``torchvision_datasets.TABLE``.
        data_dir: Folder for downloads and for the memory of file hashes.
        on_bad_image: ``fail`` or ``skip``: what to do about files that are no images.

    Raises:
        InputError: If the name is unknown, or the dataset cannot be had or used.
    """
    if name == "digits":
        dataset = load_digits()
    elif name.startswith("folder:"):
        from resnet_mlflow.data.folder import load_folder

        dataset = load_folder(name, data_dir=data_dir, on_bad_image=on_bad_image)
    else:
        from resnet_mlflow.data.torchvision_datasets import TABLE, load_torchvision

        if name not in TABLE:
            hint = f"; write folder:{name}" if Path(name).is_dir() else nearest(name, ["digits", *TABLE])
            raise InputError(
                f"dataset must be digits, folder:PATH or a torchvision name, got {name!r}"
                + (hint or f"; known are {', '.join(['digits', *TABLE])}")
            )
        dataset = load_torchvision(name, data_dir=data_dir, on_bad_image=on_bad_image)
    for pair, count in dataset.n_duplicates_across_splits.items():
        first, second = pair.split("/")
        logger.warning("%s: %d %s images also lie in %s", dataset.name, count, second, first)
    return dataset


def load_digits() -> ImageDataset:
    """Return scikit-learn's handwritten digits: 1797 grey images of 8 x 8 pixels, a fifth of them test.

    Example:
        >>> {name: len(split) for name, split in load_digits().splits.items()}
        {'train': 1438, 'test': 359}
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels are 0..16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    split = split_of_arrays(images, digits.target)
    return build_dataset(
        name="digits",
        class_names=[str(digit) for digit in range(10)],
        splits={"all": split},
        default_image_size=32,
        source="sklearn.datasets.load_digits",
    )
