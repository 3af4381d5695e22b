"""Noise: gaussian, shot, impulse and speckle, drawn independently for every channel of every pixel."""

from functools import lru_cache

import torch
from torch import Tensor

from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom

_STEPS = 2**16


def gaussian_noise(images: Tensor, random: ItemRandom, sigma: float) -> Tensor:
    """Return images with added normal noise of standard deviation ``sigma``."""
    return to_bytes(random.normal(*images.shape[1:]).mul_(sigma).add_(to_floats(images)))


def speckle_noise(images: Tensor, random: ItemRandom, sigma: float) -> Tensor:
    """Return images with added normal noise of standard deviation ``sigma`` times the value."""
    return to_bytes(random.normal(*images.shape[1:]).mul_(sigma).add_(1).mul_(to_floats(images)))


def impulse_noise(images: Tensor, random: ItemRandom, amount: float) -> Tensor:
    """Return images where a share ``amount`` of all elements is 0 or 255, half each."""
    level = random.uniform(*images.shape[1:])
    # "or" with all bits set gives 255, "and" with none gives 0; masked_fill would branch for every element.
    salt, pepper = ((level < share).to(torch.uint8) for share in (amount, amount / 2))
    return (images | salt * 255) & (pepper * 255).bitwise_not_()


def shot_noise(images: Tensor, random: ItemRandom, scale: float) -> Tensor:
    """Return images with values replaced by Poisson counts of mean ``value * scale``, divided by ``scale``."""
    n = images[0].numel()
    halves = random.bits((n + 1) // 2).view(torch.int16)[:, :n].view_as(images)
    rows = images.int().mul_(_STEPS).add_(halves).add_(_STEPS // 2)
    return _poisson_table(scale, images.device).index_select(0, rows.view(-1)).view_as(images)


@lru_cache(maxsize=5)
def _poisson_table(scale: float, device: torch.device) -> Tensor:
    """Return the noisy value for each value and 16 random bits, uint8 of shape (256 * 2^16,).

    It is the inverse Poisson distribution function, to 2^-16, since there are only 256 means. Counts above the scale
    are white.
    """
    counts = torch.arange(int(scale) + 2, dtype=torch.float64)
    means = torch.arange(256, dtype=torch.float64)[:, None] / 255 * scale
    log_p = torch.xlogy(counts, means) - means - torch.lgamma(counts + 1)
    ends = (log_p.exp().cumsum(1) * _STEPS).round().clamp(max=_STEPS)
    ends[:, -1] = _STEPS
    steps = ends.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.float64)).long()
    values = to_bytes(counts / scale).expand(256, -1)
    return values.flatten().repeat_interleave(steps.flatten()).to(device)
