"""Conversion of pixel values from bytes to [0, 1] and back."""

import torch
from torch import Tensor


def to_floats(images: Tensor) -> Tensor:
    """Return uint8 as float32 in [0, 1]."""
    return images.float().div_(255)


def to_bytes(values: Tensor) -> Tensor:
    """Return values in [0, 1] as uint8, clipped, and truncated as in the published images.

    Example:
        >>> to_bytes(torch.tensor([-0.1, 0.5, 1.2])).tolist()
        [0, 127, 255]
    """
    return values.clamp(0, 1).mul_(255).to(torch.uint8)
