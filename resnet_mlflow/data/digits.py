"""scikit-learn's handwritten digits: a dataset that needs no download."""

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, build_dataset, split_of_arrays


def load_digits(name: str = "digits", **_: object) -> ImageDataset:
    """Return scikit-learn's handwritten digits: 1797 grey images of 8 x 8 pixels, a fifth of them test.

    Args:
        name: Name of the dataset.
        _: Arguments of other loaders; there are no files here.

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
        name=name,
        class_names=[str(digit) for digit in range(10)],
        splits={"all": split},
        default_image_size=32,
        source="sklearn.datasets.load_digits",
    )
