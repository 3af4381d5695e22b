"""Filters over planes of pixels: one convolution for small kernels, two matrix products for wide Gaussians."""

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# Border modes with SciPy's names: abc|cba is "reflect", abc|ba is "mirror", abc|cc is "nearest".
Border = Literal["reflect", "mirror", "nearest"]

# Pixels of a row computed in one step of the convolution, as output channels: the lanes of a vector register.
_PHASES = 16
# Up to this size, one convolution with the outer product costs less than two matrix products of 224 x 224.
_WIDEST_KERNEL = 17


def gaussian_blur(planes: Tensor, sigma: float, *, border: Border = "nearest", truncate: float = 4.0) -> Tensor:
    """Return float32 planes of shape (..., height, width), blurred like ``scipy.ndimage.gaussian_filter``.

    Args:
        planes: float32 of shape (..., height, width).
        sigma: Standard deviation in pixels.
        border: Border mode.
        truncate: Number of standard deviations after which the kernel ends.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return planes
    height, width = planes.shape[-2:]
    if 2 * radius + 1 <= _WIDEST_KERNEL and border != "reflect" and radius < min(height, width):
        weights = _gaussian_weights(sigma, radius)
        return filter2d(planes, torch.outer(weights, weights), border)
    rows, columns = (_gaussian_matrix(n, sigma, radius, border, planes.device) for n in (height, width))
    return rows @ (planes @ columns.T)


def filter2d(planes: Tensor, kernel: Tensor, border: Border) -> Tensor:
    """Return float32 planes of shape (..., height, width), correlated with a square kernel of odd side.

    Args:
        planes: float32 of shape (..., height, width).
        kernel: float64 of shape (side, side).
        border: ``mirror`` or ``nearest``; ``mirror`` needs planes wider than half the kernel.
    """
    height, width = planes.shape[-2:]
    reach = kernel.shape[0] // 2
    ahead = -width % _PHASES
    mode = {"mirror": "reflect", "nearest": "replicate"}[border]
    padded = F.pad(planes.reshape(-1, 1, height, width), (reach,) * 4, mode=mode)
    padded = F.pad(padded, (0, ahead)) if ahead else padded
    # With one input and one output channel, a convolution leaves most of a vector register empty; so neighbours in a
    # row become output channels, each with the kernel shifted by one pixel.
    shifted = torch.stack([F.pad(kernel, (phase, _PHASES - 1 - phase)) for phase in range(_PHASES)])
    phases = F.conv2d(padded, shifted[:, None].to(padded), stride=(1, _PHASES))
    return phases.permute(0, 2, 3, 1).reshape(-1, height, width + ahead)[..., :width].reshape(planes.shape)


@lru_cache(maxsize=32)
def _gaussian_weights(sigma: float, radius: int) -> Tensor:
    """Return weights that sum to 1, float64 of shape (2 * radius + 1,)."""
    weights = torch.arange(-radius, radius + 1, dtype=torch.float64).div_(sigma).square_().mul_(-0.5).exp_()
    return weights / weights.sum()


@lru_cache(maxsize=32)
def _gaussian_matrix(n: int, sigma: float, radius: int, border: Border, device: torch.device) -> Tensor:
    """Return the blur of n values as a matrix, float32 of shape (n, n), border included."""
    weights = _gaussian_weights(sigma, radius)
    sources = _fold(torch.arange(n)[:, None] + torch.arange(-radius, radius + 1), n, border)
    matrix = torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, sources, weights.expand(n, -1))
    return matrix.float().to(device)


def _fold(index: Tensor, n: int, border: Border) -> Tensor:
    """Return positions, with those outside 0 to n - 1 mapped back inside.

    Example:
        >>> [_fold(torch.arange(-2, 5), 3, border).tolist() for border in ("reflect", "mirror", "nearest")]
        [[1, 0, 0, 1, 2, 2, 1], [2, 1, 0, 1, 2, 1, 0], [0, 0, 0, 1, 2, 2, 2]]
    """
    if border == "nearest":
        return index.clamp(0, n - 1)
    period, shift = (2 * n, 0.5) if border == "reflect" else (2 * n - 2, 0.0)
    distance = ((index + shift) % period - math.floor(shift)).double()
    return torch.where(distance > n - 1 + shift, period - distance, distance).sub(shift).long()
