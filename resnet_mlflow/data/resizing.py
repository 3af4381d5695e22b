"""Resizes and crops images to the network's input by ``registry.preprocessing``; a change needs a new text there."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing

_LONGEST = 4
# Only the middle of a longer side is resized: a line of 1 x 60000 pixels would become huge.
_LONGEST_WHOLE = 1 << 15
_OF_PIL = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize_crop(image: Tensor, size: int, preprocessing: Preprocessing = PLAIN) -> Tensor:
    """Return the centre square of an image at ``size`` pixels a side.

    The shorter side is resized to 8/7 of ``size`` if it is at least that long, otherwise to ``size``; antialiased,
    bilinear, uint8. The part beyond ``size`` is cropped evenly. For 224 pixels this is the usual resize to 256 and
    crop, and images smaller than ``size`` lose nothing. Some weights specify another length of the shorter side, or
    bicubic interpolation.

    Args:
        image: uint8, shape ``(3, height, width)``.
        size: Side of the square in pixels.
        preprocessing: The preprocessing that the weights expect.
    """
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(resize_crops(pixels[None], size, preprocessing)[0]).permute(2, 0, 1)


def resize_crops(images: NDArray[np.uint8], size: int, preprocessing: Preprocessing = PLAIN) -> NDArray[np.uint8]:
    """Return ``(n, size, size, 3)`` of ``(n, height, width, 3)``; each image is resized independently."""
    if preprocessing.resize:
        return _as_torchvision(images, size, preprocessing)
    images = _trim(images)
    height, width = images.shape[1:3]
    shorter = min(height, width)
    target = preprocessing.shorter_side(size, shorter)
    new_height, new_width = (max(size, side * target // shorter) for side in (height, width))
    # Rounded down, as for all features stored so far.
    top, left = (new_height - size) // 2, (new_width - size) // 2
    resized = _resize(images, new_height, new_width, preprocessing.interpolation)
    return resized[:, top : top + size, left : left + size]


def _as_torchvision(images: NDArray[np.uint8], size: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the result of torchvision's Resize and CenterCrop: the same lengths, and margins rounded half to even."""
    height, width = images.shape[1:3]
    shorter = min(height, width)
    target = preprocessing.shorter_side(size, shorter)
    new = [target if side == shorter else int(target * side / shorter) for side in (height, width)]
    top, left = (round((side - size) / 2) for side in new)
    how = preprocessing.interpolation
    if max(new) > _LONGEST_WHOLE:
        across, down = width / new[1], height / new[0]
        box = (left * across, top * down, min(width, (left + size) * across), min(height, (top + size) * down))
        return _resize_with_pil(images, (size, size), how, box)
    if shorter < 2 * target:
        # torch rounds its weights to 15 bits, and about one pixel in ten million is then 2 levels off. This does not
        # happen when an image is shrunk to half or less, where torch is 4 to 8 times as fast.
        resized = _resize_with_pil(images, (new[1], new[0]), how)
    else:
        resized = _resize(images, new[0], new[1], how)
    return resized[:, top : top + size, left : left + size]


def _resize_with_pil(
    images: NDArray[np.uint8],
    new: tuple[int, int],
    interpolation: str,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return images, or a box in pixels of each, resized to a new width and height."""
    resized = [Image.fromarray(image).resize(new, _OF_PIL[interpolation], box) for image in images]
    return np.stack([np.asarray(image) for image in resized])


def resize_shorter(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return images with ``side`` pixels on the shorter side, cut and resized as ``resize_crop`` does.

    Args:
        images: uint8, shape ``(n, height, width, 3)``.
        side: Length in pixels.
    """
    images = _trim(images)
    shorter = min(images.shape[1:3])
    height, width = (max(side, round(pixels * side / shorter)) for pixels in images.shape[1:3])
    return _resize(images, height, width)


def _resize(
    images: NDArray[np.uint8], new_height: int, new_width: int, interpolation: str = "bilinear"
) -> NDArray[np.uint8]:
    n_images, height, width, n_channels = images.shape
    if (new_height, new_width) == (height, width):
        return images
    # Viewed from flat memory, because numpy's stride for an axis of length 1 hides the channels-last order from torch.
    tensor = torch.from_numpy(images.reshape(-1)).view(n_images, height, width, n_channels).permute(0, 3, 1, 2)
    resized = interpolate(tensor, size=(new_height, new_width), mode=interpolation, antialias=True)
    pixels: NDArray[np.uint8] = resized.permute(0, 2, 3, 1).numpy()
    return pixels


def _trim(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the images, cut at both ends if one side is over 4 times the other.

    Only the middle survives the crop, and a file of 1 x 60000 pixels must not be enlarged in full.
    """
    height, width = images.shape[1:3]
    longest = _LONGEST * min(height, width)
    if max(height, width) <= longest:
        return images
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return np.ascontiguousarray(images[:, top : top + longest, left : left + longest])
