"""Test images under a corruption, and their features: corrupted at their own resolution, then resized."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_mlflow.backbones.inference import InferenceForm
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError, read_size
from resnet_mlflow.data.loading import Change, iterate_batches
from resnet_mlflow.data.resizing import resize_shorter
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.streaming import extract_split
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing
from resnet_mlflow.robustness.corruptions import corrupt
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.severities import SMALLEST_SIDE, constants_for, table_resolution

# Size to which ImageNet-C's images are resized before corruption; its constants are not made for larger ones.
LARGEST_SIDE = 256


@dataclass(frozen=True, eq=False)
class ImagesUnderTest:
    """The test images for classifiers of one input size.

    Attributes:
        split: The images.
        image_size: Side of the network's input in pixels.
        corruption_size: Shorter side in pixels at corruption; 0 means their own size, at most 256.
        resolutions: Tables used for constants: 32, 64, 224 or several.
    """

    split: ImageSplit
    image_size: int
    corruption_size: int
    resolutions: tuple[int, ...]

    def constants(self, cell: CorruptedSet) -> dict[str, tuple[float, ...]]:
        """Return the corruption's constants by table of resolution; none for the clean images."""
        if cell == CLEAN:
            return {}
        return {str(resolution): constants_for(*cell, resolution) for resolution in self.resolutions}

    def corrupting(self, cell: CorruptedSet) -> Change | None:
        """Return the function that corrupts decoded images before resizing; None for clean images."""
        if cell == CLEAN:
            return None

        def change(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            side = corrupted_side(min(images.shape[1:3]), self.corruption_size)
            pixels = torch.from_numpy(resize_shorter(images, side)).permute(0, 3, 1, 2)
            changed = corrupt(pixels, *cell, self.split.item_ids[rows])
            result: NDArray[np.uint8] = changed.permute(0, 2, 3, 1).contiguous().numpy()
            return result

        return change


def choose_images(split: ImageSplit, image_size: int, corruption_size: int) -> ImagesUnderTest:
    """Return images ready to be corrupted, after checking that all of them are large enough.

    Arrays of tiny images, such as digits, are first enlarged to the network's input: there are no constants for 8
    pixels.

    Args:
        split: The images.
        image_size: Side of the network's input in pixels.
        corruption_size: As configured, 0 for their own size.

    Raises:
        InputError: If an image has a shorter side below 16 pixels.
    """
    sides = shorter_sides(split)
    smallest = int(sides.argmin())
    if not corruption_size and sides[smallest] < SMALLEST_SIDE:
        if split.paths is not None:
            n_small = int((sides < SMALLEST_SIDE).sum())
            raise InputError(
                f"images to corrupt must have at least {SMALLEST_SIDE} pixels on the shorter side, got "
                f"{sides[smallest]} in {split.paths[smallest]} ({n_small} of {len(sides)} are smaller); pass "
                f"corruption_size={image_size} to enlarge them first"
            )
        corruption_size = image_size
    at = {corrupted_side(int(side), corruption_size) for side in np.unique(sides)}
    resolutions = tuple(sorted({table_resolution(side) for side in at}))
    return ImagesUnderTest(split, image_size, corruption_size, resolutions)


def shorter_sides(split: ImageSplit) -> NDArray[np.int64]:
    """Return the shorter side of each image in pixels, ``(n_items,)``; for most files only the first bytes are read.

    An unreadable file counts as large: decoding it will report the problem.
    """
    if split.images is not None:
        return np.full(len(split), min(split.images.shape[1:3]))
    assert split.paths is not None
    sides = []
    for path in split.paths:
        try:
            sides.append(min(read_size(path, max_pixels=split.max_pixels)))
        except BadImageError:
            sides.append(LARGEST_SIDE)
    return np.array(sides)


def corrupted_side(shorter_side: int, corruption_size: int) -> int:
    """Return the shorter side at which an image is corrupted.

    Example:
        >>> [corrupted_side(side, 0) for side in (32, 375)], corrupted_side(375, 64)
        ([32, 256], 64)
    """
    return corruption_size or min(shorter_side, LARGEST_SIDE)


def compute_features(
    form: InferenceForm,
    images: ImagesUnderTest,
    cell: CorruptedSet,
    n_features: int,
    *,
    batch_size: int,
    num_workers: int,
    preprocessing: Preprocessing = PLAIN,
) -> NDArray[np.float32]:
    """Return the features of the images under a corruption, ``(n_items, n_features)``.

    Args:
        form: The backbone, see ``backbones.inference_form``.
        images: Result of ``choose_images``.
        cell: The corruption and its severity, or ``CLEAN``.
        n_features: Number of features of the backbone.
        batch_size: Images per batch.
        num_workers: Threads that decode and corrupt; -1 means one per core.
        preprocessing: The preprocessing that the backbone's weights expect.

    Raises:
        BadImageError: If an image cannot be decoded.
    """
    features = np.empty((len(images.split), n_features), dtype=np.float32)
    blocks = extract_split(
        form,
        images.split,
        images.image_size,
        batch_size=batch_size,
        num_workers=num_workers,
        change=images.corrupting(cell),
        preprocessing=preprocessing,
    )
    for rows, block in blocks:
        features[rows] = block
    return features


def readable_rows(split: ImageSplit, num_workers: int) -> NDArray[np.int64]:
    """Return the rows whose images can be decoded."""
    batches = iterate_batches(split, SMALLEST_SIDE, 1024, num_workers, skip_bad=True)
    return np.concatenate([batch.rows for batch in batches])
