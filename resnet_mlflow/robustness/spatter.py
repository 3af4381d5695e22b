"""Spatter: drops of water or mud, with the OpenCV steps of the published code, on batches."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_mlflow.robustness.convolution import filter2d, gaussian_blur
from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom

_TURQUOISE = (175 / 255, 238 / 255, 238 / 255)
_BROWN = (63 / 255, 42 / 255, 20 / 255)
_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))

# Canny's thresholds on |gx| + |gy|, and the tangent of 22.5 degrees as in OpenCV, times 2^15.
_LOW, _HIGH = 50, 150
_TANGENT = 13573 / 2**15

# Lengths of a straight, a diagonal and a knight's-move step, and the number of steps after which distances end.
_STEPS = {1: 1.0, 2: 1.4, 5: 2.1969}
_FARTHEST = 20.0


def spatter(
    images: Tensor,
    random: ItemRandom,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Tensor:
    """Return images with drops over them.

    Args:
        images: uint8 of shape (n, 3, height, width).
        random: Their random numbers.
        mean: Mean of the normal noise from which drops are made.
        deviation: Standard deviation of that noise.
        sigma: Standard deviation of the blur of the noise, in pixels.
        threshold: Noise below it is dry.
        strength: For water, the opacity of the brightest drop; for mud, the blur of its rim in pixels.
        mud: 1 for mud, 0 for water.
    """
    values = to_floats(images)
    noise = random.normal(1, *images.shape[2:]).mul_(deviation).add_(mean)
    liquid = gaussian_blur(noise, sigma)
    liquid = liquid.masked_fill(liquid < threshold, 0)
    if not mud:
        water = _water(to_bytes(liquid).float())
        # The published code divides by zero if an image has no drop.
        water *= strength / water.amax((2, 3), keepdim=True).clamp(min=1)
        return to_bytes(values + water * torch.tensor(_TURQUOISE, device=images.device).view(3, 1, 1))
    cover = gaussian_blur((liquid > threshold).float(), strength)
    cover = cover.masked_fill(cover < 0.8, 0)
    return to_bytes(values * (1 - cover) + cover * torch.tensor(_BROWN, device=images.device).view(3, 1, 1))


def _water(liquid: Tensor) -> Tensor:
    """Return the amount of water at each pixel: the liquid, embossed by the distance to its rims."""
    far = _mean3(distance_to(canny(liquid)).clamp_(max=_FARTHEST)).trunc()
    emboss = torch.tensor(_EMBOSS, dtype=torch.float64)
    embossed = filter2d(equalize(far), emboss, "mirror").round().clamp_(0, 255)
    return liquid * _mean3(embossed).round()


def _mean3(planes: Tensor) -> Tensor:
    return filter2d(planes, torch.full((3, 3), 1 / 9, dtype=torch.float64), "mirror")


def canny(planes: Tensor) -> Tensor:
    """Return edges of values 0 to 255, bool of shape (n, 1, height, width), like ``cv2.Canny(., 50, 150)``.

    References:
        Canny (1986), A Computational Approach to Edge Detection.
    """
    sobel = torch.tensor(((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), dtype=torch.float64)
    # Rounded, since sums of integers must not depend on the order of summation.
    right, down = (filter2d(planes, kernel, "nearest").round() for kernel in (sobel, sobel.T))
    size = right.abs() + down.abs()
    around = {(y, x): plane for y, x, plane in _neighbours(size, 1, 0.0)}
    flat = down.abs() < right.abs() * _TANGENT
    steep = down.abs() > right.abs() * (_TANGENT + 2)
    crest = torch.where(right * down < 0, _above(size, around, 1), _above(size, around, -1))
    crest = torch.where(flat, (size > around[0, -1]) & (size >= around[0, 1]), crest)
    crest = torch.where(steep, (size > around[-1, 0]) & (size >= around[1, 0]), crest)
    weak, edges = crest & (size > _LOW), crest & (size > _HIGH)
    while True:
        grown = (F.max_pool2d(edges.float(), 3, 1, 1) > 0) & weak
        if torch.equal(grown, edges):
            return edges
        edges = grown


def _above(size: Tensor, around: dict[tuple[int, int], Tensor], side: int) -> Tensor:
    return (size > around[-1, side]) & (size > around[1, -side])


def distance_to(edges: Tensor) -> Tensor:
    """Return the distance to the nearest edge in pixels, float32, up to slightly over 20, by OpenCV's 5 x 5 mask.

    References:
        Borgefors (1986), Distance Transformations in Digital Images.
    """
    distance = torch.where(edges, 0.0, _FARTHEST)
    while True:
        shorter = distance
        for y, x, plane in _neighbours(distance, 2, _FARTHEST):
            if y * y + x * x in _STEPS:
                shorter = torch.minimum(shorter, plane + _STEPS[y * y + x * x])
        if torch.equal(shorter, distance):
            return distance
        distance = shorter


def _neighbours(planes: Tensor, reach: int, outside: float) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each offset (down, right) and the planes shifted by it, so that a pixel is aligned with its neighbour."""
    height, width = planes.shape[2:]
    padded = F.pad(planes, (reach,) * 4, value=outside)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            yield y, x, padded[:, :, reach + y : reach + y + height, reach + x : reach + x + width]


def equalize(planes: Tensor) -> Tensor:
    """Return values 0 to 255 with an equalised histogram, like ``cv2.equalizeHist``."""
    values = planes.flatten(1).long()
    counts = torch.zeros(len(values), 256, device=values.device).scatter_add_(
        1, values, torch.ones_like(values).float()
    )
    ends = counts.cumsum(1)
    first = (counts > 0).float().argmax(1, keepdim=True)
    lowest = counts.gather(1, first)
    total = values.shape[1]
    levels = ((ends - lowest) * (255.0 / (total - lowest).clamp(min=1))).round().clamp_(0, 255)
    # Constant planes do not change.
    levels = torch.where(lowest == total, first.float(), levels)
    return levels.gather(1, values).view_as(planes)
