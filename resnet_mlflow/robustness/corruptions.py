"""Corrupts a batch of images; each item's randomness depends only on its id, the corruption and the severity."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_mlflow.registry import load
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.chunks import map_chunks
from resnet_mlflow.robustness.random import ItemRandom, item_keys
from resnet_mlflow.robustness.severities import constants_for


def corrupt(
    images: Tensor, corruption: str, severity: int, item_ids: Sequence[str | int] | NDArray[np.str_ | np.int64]
) -> Tensor:
    """Return corrupted copies, uint8 of shape (n, 3, height, width), on the device of the images.

    Args:
        images: uint8 of shape (n, 3, height, width), any memory layout, at least 16 pixels on the shorter side.
        corruption: Name of a row of ``catalogue.CORRUPTIONS``.
        severity: 1 to 5; 1, 3 or 5 if geometric. The constants are those of the published set of the nearest
            resolution, see ``severities.table_resolution``.
        item_ids: One content id, or number, per image, which seeds its random numbers together with the corruption and
            the severity.

    Raises:
        InputError: If the corruption is unknown, the severity is out of range or the images are too small.
        ValueError: If the images do not have this shape and type, or the number of ids differs.

    References:
        Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions and Perturbations.
    """
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3 or len(images) != len(item_ids):
        raise ValueError(
            "images must be uint8 of shape (n, 3, height, width) with n item ids, "
            f"got {images.dtype} of shape {tuple(images.shape)} with {len(item_ids)}"
        )
    constants = constants_for(corruption, severity, min(images.shape[2:]))
    if not len(images):
        return images.clone()
    ids = item_ids.tolist() if isinstance(item_ids, np.ndarray) else item_ids
    keys = item_keys(ids, corruption, severity).to(images.device)
    function: Callable[..., Tensor] = load(CORRUPTIONS[corruption].function)
    return map_chunks(lambda chunk, its_keys: function(chunk, ItemRandom(its_keys), *constants), images, keys)
