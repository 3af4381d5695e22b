"""The preprocessing that weights expect: the resizing, cropping and normalisation that they were trained with."""

import re
from dataclasses import dataclass, replace
from typing import Any

from resnet_mlflow.errors import InputError

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")

# The text that version 0.1.0 had for its only rule; its features, packages and runs contain this text.
_PLAIN = "resize-crop-7/8-antialias-imagenet"
_NUMBERS = r"([-+.e\d]+),([-+.e\d]+),([-+.e\d]+)"
_WRITTEN = re.compile(rf"resize-(auto|\d+/\d+)-(\w+)-mean-{_NUMBERS}-std-{_NUMBERS}")


@dataclass(frozen=True)
class Preprocessing:
    """How an image is turned into the network's input.

    Attributes:
        resize: Shorter side in pixels to which an image is resized before the centre crop; 0 means 8/7 of the input
            side, and images smaller than that lose nothing.
        crop: Side of the input that ``resize`` refers to, in pixels. For another input it is scaled, and then smaller
            images lose nothing either.
        interpolation: ``bilinear`` or ``bicubic``, both antialiased.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel.
    """

    resize: int = 0
    crop: int = 224
    interpolation: str = "bilinear"
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If a value is out of range.
        """
        if self.resize and self.resize < self.crop:
            raise InputError(f"resize must be at least the side of the input, {self.crop} pixels, got {self.resize}")
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")
        if not all(0 < value < 1e3 for value in self.std) or not all(abs(value) < 1e3 for value in self.mean):
            raise InputError(f"mean must be finite and std greater than 0, got {self.mean} and {self.std}")

    def __str__(self) -> str:
        """Return the text that represents it in keys, tags and packages; equal rules have equal texts."""
        if self == PLAIN:
            return _PLAIN
        resize = f"{self.resize}/{self.crop}" if self.resize else "auto"
        mean, std = (",".join(map(repr, values)) for values in (self.mean, self.std))
        return f"resize-{resize}-{self.interpolation}-mean-{mean}-std-{std}"

    @classmethod
    def read(cls, text: str) -> "Preprocessing":
        """Return the preprocessing that a text represents.

        Raises:
            InputError: If this version does not write this text.

        Example:
            >>> Preprocessing.read(str(Preprocessing(resize=232))).resize
            232
        """
        if text == _PLAIN:
            return PLAIN
        if not (found := _WRITTEN.fullmatch(text)):
            raise InputError(
                f"preprocessing must be {_PLAIN!r}, which this version has, or like resize-232/224-..., got "
                f"{text[:100]!r}; load it with the version that it was made by"
            )
        resize, crop = (int(part) for part in found[1].split("/")) if "/" in found[1] else (0, 224)
        return cls(resize, crop, found[2], channels("mean", found.groups()[2:5]), channels("std", found.groups()[5:8]))

    def shorter_side(self, size: int, shorter: int) -> int:
        """Return the length in pixels to which the shorter side of an image is resized.

        Args:
            size: Side of the network's input.
            shorter: Shorter side of the original image.
        """
        if self.resize and size == self.crop:
            return self.resize
        wanted = size * self.resize / self.crop if self.resize else size * 8 / 7
        return size if shorter < wanted else round(wanted)


PLAIN = Preprocessing()
# The usual resize to 256 and crop on ImageNet, as in torchvision and most other libraries.
IMAGENET = Preprocessing(resize=256)


def channels(name: str, values: Any) -> Channels:
    """Return three numbers, one per channel.

    Raises:
        InputError: If the values are anything else.
    """
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be three numbers such as 0.485,0.456,0.406, got {values!r}") from None
    return red, green, blue


def changed(
    preprocessing: Preprocessing, size: int, *, resize: int, interpolation: str, mean: str, std: str
) -> Preprocessing:
    """Return a preprocessing with the changes from a configuration.

    Args:
        preprocessing: The weights' own.
        size: Side of the network's input in pixels.
        resize: 0 means the weights' own.
        interpolation: ``auto`` means the weights' own.
        mean: Three comma-separated numbers; empty means the weights' own.
        std: The same.

    Raises:
        InputError: If the result is invalid.
    """
    if resize:
        preprocessing = replace(preprocessing, resize=resize, crop=size)
    if interpolation != "auto":
        preprocessing = replace(preprocessing, interpolation=interpolation)
    if mean:
        preprocessing = replace(preprocessing, mean=channels("mean", mean.split(",")))
    return replace(preprocessing, std=channels("std", std.split(","))) if std else preprocessing
