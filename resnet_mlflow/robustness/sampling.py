"""Sampling of pixels at fractional positions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_mlflow.robustness.convolution import Border


def sample(planes: Tensor, ys: Tensor, xs: Tensor, border: Border) -> Tensor:
    """Return planes sampled bilinearly at other positions, with the same shape.

    Args:
        planes: float32 of shape (n, channels, height, width).
        ys: Rows to sample at, of shape (n, height, width).
        xs: Columns to sample at, of shape (n, height, width).
        border: Border mode.
    """
    height, width = planes.shape[2:]
    # With align_corners, the ends of the grid, -1 and 1, are pixel centres, and reflection is about them.
    corners = border != "reflect"
    grid = [at * (2 / (n - 1)) - 1 if corners else (at * 2 + 1) / n - 1 for at, n in ((xs, width), (ys, height))]
    mode = "border" if border == "nearest" else "reflection"
    return F.grid_sample(planes, torch.stack(grid, dim=3), padding_mode=mode, align_corners=corners)
