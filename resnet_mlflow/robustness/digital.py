"""Digital changes: contrast, elastic warps, coarse pixels, JPEG, saturation."""

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_mlflow.robustness.color import hsv_to_rgb, rgb_to_hsv
from resnet_mlflow.robustness.convolution import gaussian_blur
from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom
from resnet_mlflow.robustness.sampling import sample

# Pillow's fixed-point format for weights: 32 bits less 8 for the value and 2 spare bits.
_WEIGHT_BITS = 22


def contrast(images: Tensor, random: ItemRandom, gain: float) -> Tensor:
    """Return images with the distance from each channel's mean scaled by ``gain``."""
    values = images.double() / 255
    means = values.mean((2, 3), keepdim=True)
    return to_bytes((values - means) * gain + means)


def saturate(images: Tensor, random: ItemRandom, factor: float, offset: float) -> Tensor:
    """Return images with saturation scaled by ``factor`` and shifted by ``offset``."""
    hue, saturation, value = rgb_to_hsv(images)
    return to_bytes(hsv_to_rgb(hue, (saturation * factor + offset).clamp_(0, 1), value))


def jpeg_compression(images: Tensor, random: ItemRandom, quality: float) -> Tensor:
    """Return images as Pillow reads them back from a JPEG file of the given quality."""
    pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    read = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(quality))
        read.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).contiguous().to(images.device)


def pixelate(images: Tensor, random: ItemRandom, scale: float) -> Tensor:
    """Return images reduced by ``scale`` and enlarged again, both with Pillow's box filter."""
    height, width = images.shape[2:]
    small = _resize(_resize(images.int(), -1, int(width * scale)), -2, int(height * scale))
    return _resize(_resize(small, -1, width), -2, height).to(torch.uint8)


def _resize(images: Tensor, axis: int, n: int) -> Tensor:
    """Return int32 images with one axis resized to ``n`` by the box filter, rounded as in Pillow."""
    if images.shape[axis] == n:
        return images
    sources, weights = _box_taps(images.shape[axis], n, images.device)
    weights = weights if axis == -1 else weights[:, :, None]
    total = images.index_select(axis, sources[0]) * weights[0]
    for source, weight in zip(sources[1:], weights[1:], strict=True):
        total += images.index_select(axis, source) * weight
    return (total + (1 << (_WEIGHT_BITS - 1))) >> _WEIGHT_BITS


@lru_cache(maxsize=32)
def _box_taps(n_from: int, n_to: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the source pixels of each new one and their weights, both int32 of shape (n_taps, n_to)."""
    scale = n_from / n_to
    reach = 0.5 * max(scale, 1.0)
    centres = (torch.arange(n_to, dtype=torch.float64) + 0.5) * scale
    first = (centres - reach + 0.5).long().clamp(min=0)
    last = (centres + reach + 0.5).long().clamp(max=n_from)
    taps = torch.arange(int((last - first).max()))[:, None]
    distance = (first + taps - centres + 0.5) / max(scale, 1.0)
    inside = (distance > -0.5) & (distance <= 0.5) & (first + taps < last)
    weights = inside.double() / inside.sum(0)
    sources = (first + taps).clamp(max=n_from - 1)
    return sources.int().to(device), (weights * 2**_WEIGHT_BITS + 0.5).int().to(device)


def elastic_transform(images: Tensor, random: ItemRandom, strength: float, sigma: float, reach: float) -> Tensor:
    """Return images under a small random affine map, then under a smooth random displacement.

    Args:
        images: uint8 of shape (n, 3, height, width).
        random: Their random numbers.
        strength: Factor on the smoothed displacement, in pixels.
        sigma: Standard deviation of the smoothing, in pixels.
        reach: Maximum distance by which the affine map moves each of three points, in pixels.
    """
    height, width = images.shape[2:]
    moved = _affine(to_floats(images), random.uniform(3, 2, low=-reach, high=reach))
    if not strength:
        return to_bytes(moved)
    noise = random.uniform(2, height, width, low=-1, high=1)
    down, right = (gaussian_blur(noise, sigma, border="reflect", truncate=3) * strength).unbind(1)
    ys = torch.arange(height, device=images.device)[:, None] + down
    xs = torch.arange(width, device=images.device) + right
    return to_bytes(sample(moved, ys, xs, border="reflect"))


def _affine(planes: Tensor, shifts: Tensor) -> Tensor:
    """Return planes under the affine map that moves three points around the centre by ``shifts`` in x and y."""
    height, width = planes.shape[2:]
    # The published code uses height as x, which makes no difference only for squares.
    centre, size = torch.tensor([width // 2, height // 2], dtype=torch.float64), min(height, width) // 3
    corners = centre + size * torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    ones = torch.ones(3, 1, dtype=torch.float64)
    targets = torch.cat((corners + shifts.double().cpu(), ones.expand(len(shifts), -1, -1)), dim=2)
    # Maps a point of the result to its source: targets @ inverse = corners.
    inverse = torch.linalg.solve(targets, corners.expand(len(shifts), -1, -1)).float().to(planes.device)
    ys, xs = torch.arange(height, device=planes.device)[:, None], torch.arange(width, device=planes.device)
    across, down, start = inverse[:, :, :, None, None].unbind(1)
    x_from, y_from = (across * xs + down * ys + start).unbind(1)
    return sample(planes, y_from, x_from, border="mirror")
