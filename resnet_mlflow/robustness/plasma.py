"""Clouds by the diamond-square algorithm, and frost made of them."""

import torch
from torch import Tensor

from resnet_mlflow.robustness.random import ItemRandom


def plasma(random: ItemRandom, height: int, width: int, decay: float) -> Tensor:
    """Return clouds in [0, 1], float32 of shape (n, height, width), cut from a square that repeats at its ends.

    The square's side is the next power of two; it is scaled to [0, 1] before it is cut.

    Args:
        random: Random numbers of the images.
        height: In pixels.
        width: In pixels.
        decay: By how much the random part shrinks when the step is halved: more is smoother.

    References:
        Fournier, Fussell and Carpenter (1982), Computer Rendering of Stochastic Models.
    """
    size = 1 << (max(height, width) - 1).bit_length()
    cloud = torch.zeros(len(random.keys), size, size, device=random.keys.device)
    step, amplitude = size, 100.0
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        noise = random.uniform(3, *corners.shape[1:], low=-(amplitude**2), high=amplitude**2)
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)).div_(4).add_(noise[:, 0])
        cloud[:, half::step, half::step] = centres
        sides = (centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)).div_(4)
        cloud[:, ::step, half::step] = sides.add_(noise[:, 1])
        sides = (centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)).div_(4)
        cloud[:, half::step, ::step] = sides.add_(noise[:, 2])
        step, amplitude = half, amplitude / decay
    cloud -= cloud.amin((1, 2), keepdim=True)
    cloud /= cloud.amax((1, 2), keepdim=True)
    return cloud[:, :height, :width]


def frost_texture(random: ItemRandom, height: int, width: int) -> Tensor:
    """Return ice on a window, float32 in [0, 1] of shape (n, 3, height, width): pale needles on blue.

    It stands for the photographs of the published sets. A film of ice of uneven thickness carries needles along the
    lines where a rough cloud crosses its middle.
    """
    film, rough, fine = (plasma(random, height, width, decay) for decay in (2.0, 1.7, 1.4))
    needles = torch.maximum(_ridges(rough, 9.0), _ridges(fine, 6.0).mul_(0.8))
    ice = film.mul_(0.55).add_(needles.mul_(0.6)).clamp_(0, 1)
    dark, pale = (torch.tensor(color, device=ice.device).view(3, 1, 1) / 255 for color in (_WATER, _ICE))
    return dark + (pale - dark) * ice[:, None]


_WATER = (38.0, 66.0, 104.0)
_ICE = (232.0, 243.0, 252.0)


def _ridges(cloud: Tensor, sharpness: float) -> Tensor:
    """Return 1 where a cloud crosses one half, falling off on both sides."""
    return cloud.sub(0.5).abs_().mul_(-sharpness).exp_()
