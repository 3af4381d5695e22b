"""Generated frost, in place of the frost photographs of the published sets."""

import math

import torch
from torch import Tensor

from resnet_mlflow.robustness.clouds import fractal_clouds
from resnet_mlflow.robustness.random import ItemRandom

# Colours of bare glass and thick frost, as red, green and blue.
_GLASS = (38.0, 66.0, 104.0)
_FROST = (235.0, 244.0, 252.0)

_N_FERNS = 12
# Barbs per image height, and how much clouds bend them, in radians.
_BARBS = 30.0
_BEND = 22.0


def frost_texture(random: ItemRandom, height: int, width: int) -> Tensor:
    """Return frost, float32 in [0, 1] of shape (n, 3, height, width): pale fern patterns on blue glass.

    A film of uneven thickness is divided into cells around random points. In each cell, barbs branch off a stem of
    random direction.
    """
    film, rough, fine = fractal_clouds(random, height, width, 2.0, 1.6, 1.35).unbind(1)
    along, across = _in_cells(random, film, rough)
    barbs = (along + 0.7 * across.abs()).mul_(2 * math.pi * _BARBS).add_(rough, alpha=_BEND).sin_().add_(1)
    stems = across.abs().mul_(-45).exp_()
    grain = fine.sub(0.5).abs_().mul_(-16).exp_()
    cover = ((film - 0.12) / 0.45).clamp_(0, 1)
    frost = cover * (0.22 + 0.35 * fine + 0.14 * barbs + 0.3 * grain) + (0.15 + 0.4 * cover) * stems
    glass, white = (torch.tensor(color, device=frost.device).view(3, 1, 1) / 255 for color in (_GLASS, _FROST))
    return torch.lerp(glass, white, frost.clamp_(0, 1)[:, None])


def _in_cells(random: ItemRandom, film: Tensor, rough: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each pixel along and across the stem of its cell, in units of the image height.

    Clouds displace the positions, so that cells and stems are not straight.
    """
    n, height, width = film.shape
    ys = torch.arange(height, device=film.device)[:, None] / height + 0.3 * film
    xs = torch.arange(width, device=film.device) / height + 0.15 * rough
    places = torch.stack((ys, xs), dim=1).flatten(2)
    limits = torch.tensor([1.3, width / height + 0.15], device=film.device)
    points = random.uniform(_N_FERNS, 2) * limits
    nearest = _nearest(points, places)
    angles = random.uniform(_N_FERNS, high=2 * math.pi).gather(1, nearest)
    down, right = (places - points.transpose(1, 2).gather(2, nearest[:, None].expand(-1, 2, -1))).unbind(1)
    sine, cosine = angles.sin(), angles.cos()
    shape = (n, height, width)
    return (down * sine + right * cosine).view(shape), (right * sine - down * cosine).view(shape)


def _nearest(points: Tensor, places: Tensor) -> Tensor:
    """Return the nearest point to each position, int64 of shape (n, n_places).

    Args:
        points: Points, of shape (n, n_points, 2), at most 16.
        places: Positions, of shape (n, 2, n_places).
    """
    # Squared distances in steps of 2^-14, without the position's own square, which is the same for all points. The
    # point's number in the lower digits allows a plain minimum, twenty times faster than argmin.
    squares = points.square().sum(2, keepdim=True)
    distances = torch.baddbmm(squares, points, places, beta=2**14, alpha=-(2**15)).floor_()
    numbers = torch.arange(points.shape[1], device=points.device)[:, None]
    smallest = distances.mul_(16).add_(numbers).amin(1)
    return smallest.sub_(smallest.div(16).floor_().mul_(16)).long()
