"""Geometric changes: rotation, translation, scale, mirroring, occlusion; border pixels are repeated outside."""

import math

import torch
from torch import Tensor

from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom
from resnet_mlflow.robustness.sampling import sample

# ImageNet's mean, which is zero for a network.
_GREY = (124, 116, 104)


def rotation(images: Tensor, random: ItemRandom, degrees: float) -> Tensor:
    """Return images rotated about their centre by ``degrees``, each in a random direction."""
    angles = _signs(random)[:, 0] * math.radians(degrees)
    return _turn_and_scale(images, angles.cos(), angles.sin())


def scale(images: Tensor, random: ItemRandom, factor: float) -> Tensor:
    """Return images with content scaled by ``factor`` about the centre."""
    inverse = torch.full((len(images),), 1 / factor, device=images.device)
    return _turn_and_scale(images, inverse, torch.zeros_like(inverse))


def translation(images: Tensor, random: ItemRandom, share: float) -> Tensor:
    """Return images shifted by ``share`` of their sides, rounded to pixels, each in random directions."""
    signs = _signs(random).long()
    rows, columns = (
        (torch.arange(n, device=images.device) + signs[:, [axis]] * round(share * n)).clamp_(0, n - 1)
        for axis, n in enumerate(images.shape[2:])
    )
    items = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[items, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).contiguous()


def horizontal_flip(images: Tensor, random: ItemRandom) -> Tensor:
    """Return images with left and right swapped."""
    return images.flip(3)


def occlusion(images: Tensor, random: ItemRandom, share: float) -> Tensor:
    """Return images with a grey square, ``share`` of the shorter side, at a random position inside.

    References:
        DeVries and Taylor (2017), Improved Regularization of Convolutional Neural Networks with Cutout.
    """
    side = round(share * min(images.shape[2:]))
    places = random.uniform(2)
    inside = []
    for axis, n in enumerate(images.shape[2:]):
        start = (places[:, [axis]] * (n - side + 1)).long()
        at = torch.arange(n, device=images.device)
        inside.append((at >= start) & (at < start + side))
    hidden = (inside[0][:, :, None] & inside[1][:, None])[:, None]
    grey = torch.tensor(_GREY, dtype=torch.uint8, device=images.device).view(3, 1, 1)
    return torch.where(hidden, grey, images)


def _signs(random: ItemRandom) -> Tensor:
    """Return -1 or 1, float32 of shape (n_images, 2)."""
    return (random.uniform(2) < 0.5).float() * 2 - 1


def _turn_and_scale(images: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return images sampled bilinearly at positions rotated and scaled about the centre; both of shape (n,)."""
    height, width = images.shape[2:]
    ys = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    xs = torch.arange(width, device=images.device) - (width - 1) / 2
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    rows = sine * xs + cosine * ys + (height - 1) / 2
    columns = cosine * xs - sine * ys + (width - 1) / 2
    return to_bytes(sample(to_floats(images), rows, columns, border="nearest"))
