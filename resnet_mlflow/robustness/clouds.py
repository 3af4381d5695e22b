"""Clouds by the diamond-square algorithm."""

import torch
from torch import Tensor

from resnet_mlflow.robustness.random import ItemRandom


def fractal_clouds(random: ItemRandom, height: int, width: int, *decays: float) -> Tensor:
    """Return clouds in [0, 1], float32 of shape (n, n_decays, height, width), cropped from periodic squares.

    A square's side is the next power of two; it is scaled to [0, 1] before cropping.

    Args:
        random: Random numbers of the images.
        height: Height in pixels.
        width: Width in pixels.
        decays: Factors by which the random part shrinks when the step is halved: larger is smoother.

    References:
        Fournier, Fussell and Carpenter (1982), Computer Rendering of Stochastic Models.
    """
    size = 1 << (max(height, width) - 1).bit_length()
    noise = random.uniform(len(decays), size**2 - 1, low=-1, high=1)
    cloud = noise.new_zeros(*noise.shape[:2], size, size)
    decay = torch.tensor(decays, device=cloud.device).view(-1, 1, 1, 1)
    n_used, step, amplitude = 0, size, torch.full_like(decay, 100)
    while step >= 2:
        half, n_cells = step // 2, size // step
        # The published code multiplies the amplitude twice.
        level = noise[:, :, n_used : n_used + 3 * n_cells**2].view(-1, len(decays), 3, n_cells, n_cells) * amplitude**2
        corners = cloud[:, :, ::step, ::step]
        below, right = corners.roll(-1, 2), corners.roll(-1, 3)
        centres = (corners + below + right + below.roll(-1, 3)).div_(4).add_(level[:, :, 0])
        cloud[:, :, half::step, half::step] = centres
        cloud[:, :, ::step, half::step] = (centres + centres.roll(1, 2) + corners + right).div_(4).add_(level[:, :, 1])
        cloud[:, :, half::step, ::step] = (centres + centres.roll(1, 3) + corners + below).div_(4).add_(level[:, :, 2])
        n_used, step, amplitude = n_used + 3 * n_cells**2, half, amplitude / decay
    cloud -= cloud.amin((2, 3), keepdim=True)
    cloud /= cloud.amax((2, 3), keepdim=True)
    return cloud[:, :, :height, :width]
