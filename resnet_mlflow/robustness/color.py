"""Colours as hue, saturation and value, in float64 and in scikit-image's order of operations.

Truncation to bytes makes that order visible: 0.2 added to 100/255 is 151/255, or a hair below it.
"""

import torch
from torch import Tensor


def rgb_to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, saturation and value of uint8 images, float64 of shape (n, height, width) in [0, 1]."""
    red, green, blue = (images.double() / 255).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    grey = spread == 0
    divisor = spread.masked_fill(grey, 1)
    saturation = spread / value.masked_fill(grey, 1)
    # The last of equal channels decides.
    hue = torch.where(green == value, 2 + (blue - red) / divisor, (green - blue) / divisor)
    hue = torch.where(blue == value, 4 + (red - green) / divisor, hue) / 6
    hue += (hue < 0).double()
    return hue.masked_fill_(grey, 0), saturation, value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return red, green and blue in [0, 1], float64 of shape (n, 3, height, width)."""
    sector = (hue * 6).floor()
    within = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - within * saturation)
    rising = value * (1 - (1 - within) * saturation)
    levels = torch.stack((value, falling, low, rising), dim=1)
    # Of value, falling, low and rising, which one a channel takes in each of the six sectors.
    places = torch.tensor([[0, 1, 2, 2, 3, 0], [3, 0, 0, 1, 2, 2], [2, 2, 3, 0, 0, 1]], device=hue.device)
    return levels.gather(1, places[:, sector.long() % 6].transpose(0, 1))
