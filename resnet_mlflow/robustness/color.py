"""Colours as hue, saturation and value, in float64 and in scikit-image's order of operations.

Truncation to bytes makes this order visible: 0.2 added to 100/255 is 151/255, or slightly less.
"""

import torch
from torch import Tensor


def rgb_to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, saturation and value of uint8 images, float64 of shape (n, height, width) in [0, 1]."""
    red, green, blue = (images.double() / 255).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    grey = (spread == 0).double()
    divisor = spread + grey
    saturation = spread / (value + grey * (1 - value))
    # The last of equal channels decides. Sums with factors of 0 and 1 take a fraction of the time of torch.where, which
    # branches per pixel.
    is_blue = (blue == value).double()
    is_green = (green == value).double() * (1 - is_blue)
    is_red = 1 - is_green - is_blue
    ahead = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
    hue = (2 * is_green + 4 * is_blue + ahead / divisor) / 6
    hue += (hue < 0).double()
    # Grey has no hue: its terms above are zero except for that of blue.
    return hue * (1 - grey), saturation, value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return red, green and blue in [0, 1], float64 of shape (n, 3, height, width)."""
    sector = (hue * 6).floor()
    within = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - within * saturation)
    rising = value * (1 - (1 - within) * saturation)
    levels = torch.stack((value, falling, low, rising), dim=1)
    # Which of value, falling, low and rising a channel takes in each of the six sectors.
    places = torch.tensor([[0, 1, 2, 2, 3, 0], [3, 0, 0, 1, 2, 2], [2, 2, 3, 0, 0, 1]], device=hue.device)
    sectors = sector.int().flatten()
    return levels.gather(
        1, torch.stack([of_channel.index_select(0, sectors).view_as(hue) for of_channel in places], dim=1)
    )
