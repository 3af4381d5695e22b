"""Reads arrays or files, with labels, from torchvision's dataset objects."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
LabelledFiles = list[tuple[Path, int]]
Reader = Callable[[Any], Arrays | LabelledFiles]


def read_arrays(dataset: Any) -> Arrays:
    """Return ``data`` and its labels: NumPy or torch, grey, height-width-channel or channel-height-width."""
    images = np.asarray(dataset.data)
    labels = np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets, dtype=np.int64)
    if images.ndim == 4 and images.shape[1] == 3 and images.shape[3] != 3:
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images, dtype=np.uint8), labels


def read_qmnist(dataset: Any) -> Arrays:
    """Return the images and the first column of the labels."""
    # The other seven columns say who wrote the digit.
    return np.asarray(dataset.data), np.asarray(dataset.targets)[:, 0]


def read_fer2013(dataset: Any) -> Arrays:
    """Return the faces, 48 x 48 grey; a file without labels is refused."""
    images, labels = zip(*dataset._samples, strict=True)
    if None in labels:
        raise RuntimeError("test.csv has no labels: fer2013.csv or icml_face_data.csv is needed")
    return np.stack([np.asarray(image) for image in images]), np.array(labels, dtype=np.int64)


def read_pcam(dataset: Any) -> Arrays:
    """Return a memory map of the images (7 GB), stored next to their HDF5 file, and the labels."""
    files = dataset._FILES[dataset._split]
    source = dataset._base_folder / files["images"][0]
    target = source.with_suffix(".npy")
    if not target.exists():
        beside = target.with_suffix(".tmp")
        with dataset.h5py.File(source) as opened:
            pixels = opened["x"]
            copy = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=pixels.shape)
            for start in range(0, len(pixels), 4096):
                copy[start : start + 4096] = pixels[start : start + 4096]
            copy.flush()
        beside.replace(target)
    with dataset.h5py.File(dataset._base_folder / files["targets"][0]) as opened:
        labels = opened["y"][:].reshape(-1).astype(np.int64)
    return np.load(target, mmap_mode="r"), labels


def pairs_in(attribute: str) -> Reader:
    """Return a reader of a list of (path, label)."""
    return lambda dataset: [(Path(path), int(label)) for path, label in getattr(dataset, attribute)]


def files_in(attribute: str) -> Reader:
    """Return a reader of a list of paths, with labels in ``_labels``."""
    return lambda dataset: [
        (Path(path), int(label)) for path, label in zip(getattr(dataset, attribute), dataset._labels, strict=True)
    ]


def read_clevr(dataset: Any) -> LabelledFiles:
    """Return files with the number of objects, from 3, as the label."""
    return [(path, n_objects - 3) for path, n_objects in zip(dataset._image_files, dataset._labels, strict=True)]


def read_caltech101(dataset: Any) -> LabelledFiles:
    """Return files by the category and number that torchvision keeps instead of paths."""
    root = Path(dataset.root) / "101_ObjectCategories"
    pairs = zip(dataset.index, dataset.y, strict=True)
    return [(root / dataset.categories[label] / f"image_{index:04d}.jpg", label) for index, label in pairs]


def read_caltech256(dataset: Any) -> LabelledFiles:
    """Return files by the category and number that torchvision keeps instead of paths."""
    root = Path(dataset.root) / "256_ObjectCategories"
    pairs = zip(dataset.index, dataset.y, strict=True)
    return [(root / dataset.categories[label] / f"{label + 1:03d}_{index:04d}.jpg", label) for index, label in pairs]


def read_inaturalist(dataset: Any) -> LabelledFiles:
    """Return files by the category and file name that torchvision keeps instead of paths."""
    return [(Path(dataset.root, dataset.all_categories[label], file), label) for label, file in dataset.index]
