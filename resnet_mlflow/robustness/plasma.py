"""Clouds by the diamond-square algorithm."""

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
