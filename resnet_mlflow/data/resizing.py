"""Images resized and cropped to the network's input: part of what ``features.identity.PREPROCESSING`` names."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


def resize_crop(image: Tensor, size: int) -> Tensor:
    """Return the centre square of an image at ``size`` pixels a side.

    The shorter side is resized to 8/7 of ``size`` where it is at least that long, otherwise to
    ``size``; antialiased, bilinear, uint8. What exceeds ``size`` is cut off evenly: from
    224 pixels this is the usual 256 and crop, and images smaller than ``size`` lose nothing.

    Args:
        image: uint8, shape ``(3, height, width)``.
        size: Side of the square in pixels.
    """
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(resize_crops(pixels[None], size)[0]).permute(2, 0, 1)


def resize_crops(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return ``(n, size, size, 3)`` of ``(n, height, width, 3)``; each image as if it were alone."""
    images = _trim(images)
    height, width = images.shape[1:3]
    target = round(size * 8 / 7)
    shorter = min(height, width)
    if shorter < size * 8 / 7:
        target = size
    new_height, new_width = (max(size, side * target // shorter) for side in (height, width))
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return _resize(images, new_height, new_width)[:, top : top + size, left : left + size]


def resize_shorter(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return images with ``side`` pixels on the shorter side, cut and resized as ``resize_crop`` does.

    Args:
        images: uint8, shape ``(n, height, width, 3)``.
        side: In pixels.
    """
    images = _trim(images)
    shorter = min(images.shape[1:3])
    height, width = (max(side, round(pixels * side / shorter)) for pixels in images.shape[1:3])
    return _resize(images, height, width)


def _resize(images: NDArray[np.uint8], new_height: int, new_width: int) -> NDArray[np.uint8]:
    n_images, height, width, n_channels = images.shape
    if (new_height, new_width) == (height, width):
        return images
    # Viewed from flat memory, because numpy's stride of an axis of length 1 hides from torch that channels are last.
    tensor = torch.from_numpy(images.reshape(-1)).view(n_images, height, width, n_channels).permute(0, 3, 1, 2)
    resized = interpolate(tensor, size=(new_height, new_width), mode="bilinear", antialias=True)
    pixels: NDArray[np.uint8] = resized.permute(0, 2, 3, 1).numpy()
    return pixels


def _trim(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the images, cut at both ends where one side is over 4 times the other.

    Only the middle survives the crop, and a file of 1 x 60000 pixels must not be blown up whole.
    """
    height, width = images.shape[1:3]
    longest = 4 * min(height, width)
    if max(height, width) <= longest:
        return images
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return np.ascontiguousarray(images[:, top : top + longest, left : left + longest])
