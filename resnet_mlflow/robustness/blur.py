"""Blur: out of focus, through frosted glass, by motion, by zooming, and Gaussian."""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_mlflow.robustness.convolution import filter2d, gaussian_blur
from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom


def gaussian(images: Tensor, random: ItemRandom, sigma: float) -> Tensor:
    """Return images blurred by a Gaussian with standard deviation ``sigma`` in pixels."""
    return to_bytes(gaussian_blur(to_floats(images), sigma))


def defocus(images: Tensor, random: ItemRandom, radius: float, alias_sigma: float) -> Tensor:
    """Return images blurred by a disk of ``radius`` pixels with its rim softened by ``alias_sigma``."""
    return to_bytes(filter2d(to_floats(images), disk(radius, alias_sigma), "mirror"))


@lru_cache(maxsize=8)
def disk(radius: float, alias_sigma: float) -> Tensor:
    """Return the kernel of ``defocus``, float64, without its empty rim.

    A radius below 1 is a single pixel, which only ``alias_sigma`` widens. As in the published code, softening mirrors
    at the ends of the kernel: where the disk touches them, at a radius of 8 or 10, the weights sum to slightly more
    than 1.
    """
    reach, alias_reach = (8, 1) if radius <= 8 else (int(radius), 2)
    squares = torch.arange(-reach, reach + 1, dtype=torch.float64).square()
    kernel = (squares[:, None] + squares <= radius**2).double()
    offsets = torch.arange(-alias_reach, alias_reach + 1, dtype=torch.float64)
    weights = (-0.5 * (offsets / alias_sigma).square()).exp()
    weights /= weights.sum()
    padded = F.pad((kernel / kernel.sum())[None, None], (alias_reach,) * 4, mode="reflect")
    kernel = F.conv2d(padded, torch.outer(weights, weights)[None, None])[0, 0]
    rim = int((kernel.sum(0) < 1e-12).double().cumprod(0).sum())
    return kernel[rim : len(kernel) - rim, rim : len(kernel) - rim]


def glass(images: Tensor, random: ItemRandom, sigma: float, reach: float, rounds: float) -> Tensor:
    """Return images that are blurred, then have each pixel replaced by a nearby one, then blurred again.

    The published loop runs over the pixels from the last to the first and intends to swap each with one at an offset of
    ``-reach`` to ``reach - 1``; but since NumPy's rows are views, it copies that one. Pixels visited earlier thus have
    new values, and the final value of a pixel follows a chain of offsets, which ``_follow`` resolves.
    """
    planes = to_bytes(gaussian_blur(to_floats(images), sigma)).flatten(2)
    height, width = images.shape[2:]
    sources = _follow(random, height, width, int(reach), int(rounds))
    moved = planes.gather(2, sources[:, None].expand_as(planes)).view_as(images)
    return to_bytes(gaussian_blur(to_floats(moved), sigma))


def _follow(random: ItemRandom, height: int, width: int, reach: int, rounds: int) -> Tensor:
    """Return the pixel that each pixel comes from, int64 of shape (n_images, height * width)."""
    device = random.keys.device
    n_images, n_pixels = len(random.keys), height * width
    # The loop omits a rim: range(side - reach, reach, -1).
    ys, xs = (torch.arange(side, device=device).sub(reach) for side in (height, width))
    moves = ((ys > 0) & (ys <= height - 2 * reach))[:, None] & ((xs > 0) & (xs <= width - 2 * reach))
    moves = moves.int().flatten().repeat(n_images)
    # Pixels are numbered across the batch: index_select on int32 takes half the time of gather.
    sources = torch.arange(n_images * n_pixels, dtype=torch.int32, device=device)
    for _ in range(rounds):
        offsets = _offsets(random.bits(n_pixels).flatten(), reach, width) * moves
        sources = sources.index_select(0, _chain_ends(offsets, moves))
    return sources.view(n_images, n_pixels).long().remainder_(n_pixels)


def _offsets(bits: Tensor, reach: int, width: int) -> Tensor:
    """Return steps of ``-reach`` to ``reach - 1`` rows and columns, in pixels, int32."""
    down, right = ((half * (2 * reach) >> 16) - reach for half in (bits & 0xFFFF, (bits >> 16) & 0xFFFF))
    return down * width + right


def _chain_ends(offsets: Tensor, moves: Tensor) -> Tensor:
    """Return the pixel whose old value each pixel has after one run of the loop, int32 of shape (n_pixels,).

    The new pixel ``p`` is node ``n_pixels + p``, the old one node ``p``: a chain leads from new pixel to new pixel,
    each further on, and ends at an old one. Doubling every link per step takes log2 of the longest chain.
    """
    n_pixels = len(offsets)
    still = torch.arange(n_pixels, dtype=torch.int32, device=offsets.device)
    targets = still + offsets
    # A target further on was visited before, and is new if it moves.
    is_new = moves.index_select(0, targets) * (offsets > 0)
    links = targets + is_new * n_pixels
    nodes = torch.cat((still, links))
    while int(links.max()) >= n_pixels:
        links = nodes.index_select(0, links)
        nodes[n_pixels:] = links
    return links


def motion(images: Tensor, random: ItemRandom, radius: float, sigma: float) -> Tensor:
    """Return images blurred along a line, each at its own angle of -45 to 45 degrees."""
    angles = random.uniform(1, low=-45, high=45)[:, 0].tolist()
    return to_bytes(motion_blur(to_floats(images), radius, sigma, angles))


def motion_blur(planes: Tensor, radius: float, sigma: float, degrees: list[float]) -> Tensor:
    """Return float32 planes, averaged over pixels along a line with the weights of half a Gaussian.

    Args:
        planes: float32 of shape (n, channels, height, width).
        radius: The line has ``2 * radius + 1`` pixels, starting at the pixel itself.
        sigma: Standard deviation of the Gaussian in pixels.
        degrees: n angles, clockwise from the right.
    """
    n_taps, (height, width) = int(2 * radius + 1), planes.shape[2:]
    weights = np.exp(-0.5 * (np.arange(n_taps) / sigma) ** 2)
    weights /= weights.sum()
    padded = F.pad(planes, (n_taps,) * 4, mode="replicate")
    blurred = torch.zeros_like(planes)
    for result, source, angle in zip(blurred, padded, np.deg2rad(degrees), strict=True):
        steps = np.arange(n_taps)[:, None] * [math.sin(angle), math.cos(angle)]
        # Rounded half down, as in ImageMagick.
        starts = np.ceil(steps - 0.5).astype(int) + n_taps
        for (y, x), weight in zip(starts.tolist(), weights.tolist(), strict=True):
            result.add_(source[:, y : y + height, x : x + width], alpha=weight)
    return blurred


def zoom(images: Tensor, random: ItemRandom, end: float, step: float) -> Tensor:
    """Return the mean of an image and its enlargements by factors from 1 (included) to ``end`` (excluded)."""
    planes = to_floats(images)
    factors = np.arange(1, end, step).tolist()
    total = planes.clone()
    for factor in factors:
        total += zoom_centre(planes, factor)
    return to_bytes(total / (len(factors) + 1))


def zoom_centre(planes: Tensor, factor: float) -> Tensor:
    """Return planes of the same size that show their centre enlarged by ``factor``, bilinear, with aligned corners."""
    rows, columns = (_zoom_taps(side, factor, planes.device) for side in planes.shape[2:])
    before, after = (planes.index_select(2, index) for index in rows[:2])
    zoomed = torch.lerp(before, after, rows[2][:, None])
    # Along a row, gather takes half the time of index_select.
    before, after = (zoomed.gather(3, index.expand_as(zoomed)) for index in columns[:2])
    return torch.lerp(before, after, columns[2])


@lru_cache(maxsize=64)
def _zoom_taps(side: int, factor: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two source pixels of each enlarged one, int64 of shape (side,), and the weight, float32."""
    crop = math.ceil(side / factor)
    enlarged = round(crop * factor)
    start, trim = (side - crop) // 2, (enlarged - side) // 2
    places = torch.arange(trim, trim + side, dtype=torch.float64) * (crop - 1) / max(1, enlarged - 1)
    before = places.long().clamp(max=crop - 2)
    return (start + before).to(device), (start + before + 1).to(device), (places - before).float().to(device)
