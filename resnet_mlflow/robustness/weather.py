"""Weather: snow, frost, fog and brightness."""

import torch
from torch import Tensor

from resnet_mlflow.robustness.blur import motion_blur, zoom_centre
from resnet_mlflow.robustness.clouds import fractal_clouds
from resnet_mlflow.robustness.color import hsv_to_rgb, rgb_to_hsv
from resnet_mlflow.robustness.frost import frost_texture
from resnet_mlflow.robustness.pixels import to_bytes, to_floats
from resnet_mlflow.robustness.random import ItemRandom

# Luminance of red, green and blue by ITU-R BT.601.
_LUMINANCE = (0.299, 0.587, 0.114)


def snow(
    images: Tensor,
    random: ItemRandom,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: float,
    sigma: float,
    mix: float,
) -> Tensor:
    """Return whitened images with overlaid flakes that fall in both directions along one line.

    Args:
        images: uint8 of shape (n, 3, height, width).
        random: Their random numbers.
        mean: Mean of the normal noise from which flakes are made.
        deviation: Standard deviation of that noise.
        factor: Factor by which the noise is enlarged.
        threshold: Noise below it is not a flake.
        radius: Radius of the flakes' motion blur, see ``blur.motion_blur``.
        sigma: Standard deviation of the flakes' motion blur.
        mix: Weight of the image in the mixture with a whitened one.
    """
    noise = random.normal(1, *images.shape[2:]).mul_(deviation).add_(mean)
    flakes = zoom_centre(noise, factor)
    flakes = to_floats(to_bytes(flakes.masked_fill(flakes < threshold, 0)))
    angles = random.uniform(1, low=-135, high=-45)[:, 0].tolist()
    flakes = to_floats(to_bytes(motion_blur(flakes, radius, sigma, angles)))
    values = to_floats(images)
    luminance = torch.tensor(_LUMINANCE, device=images.device).view(3, 1, 1)
    pale = (values * luminance).sum(1, keepdim=True).mul_(1.5).add_(0.5)
    whitened = torch.maximum(values, pale).mul_(1 - mix).add_(values, alpha=mix)
    return to_bytes(whitened.add_(flakes).add_(flakes.rot90(2, (2, 3))))


def frost(images: Tensor, random: ItemRandom, image_weight: float, frost_weight: float) -> Tensor:
    """Return images seen through frost, which is generated for each image, see ``frost.frost_texture``."""
    texture = frost_texture(random, *images.shape[2:])
    return to_bytes(texture.mul_(frost_weight).add_(to_floats(images), alpha=image_weight))


def fog(images: Tensor, random: ItemRandom, strength: float, decay: float) -> Tensor:
    """Return images with an added cloud, scaled so that the brightest value remains possible."""
    values = to_floats(images)
    brightest = values.amax((1, 2, 3), keepdim=True)
    height, width = images.shape[2:]
    cloud = fractal_clouds(random, height, width, decay)
    return to_bytes(values.add_(cloud, alpha=strength).mul_(brightest / (brightest + strength)))


def brightness(images: Tensor, random: ItemRandom, increase: float) -> Tensor:
    """Return images with the HSV value raised by ``increase``."""
    hue, saturation, value = rgb_to_hsv(images)
    return to_bytes(hsv_to_rgb(hue, saturation, (value + increase).clamp_(0, 1)))
