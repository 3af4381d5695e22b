"""The available backbones, one row each; properties that follow from a network's structure are computed from it.

timm's ResNets, ``timm:NAME``, are rows too, made on demand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnet_mlflow.registry import Registry, load
from resnet_mlflow.registry.preprocessing import Preprocessing

TIMM = "timm:"
# torchvision's second ImageNet recipe.
_RESIZE_232 = Preprocessing(resize=232)


@dataclass(frozen=True, eq=False)
class Backbone:
    """One network of the ResNet family.

    Attributes:
        name: Name for users, the same as torchvision's.
        blocks: Residual blocks per stage; empty if they differ from the plain ResNet's.
        bottleneck: Whether a block has three convolutions, the last of four times the width, instead of two.
        groups: Groups of a bottleneck's 3x3 convolution.
        width_per_group: Channels per group of the first stage; 64 is the plain ResNet.
        weights_class: torchvision's enumeration of its weights, used in labels.
        weights: File by name; the last is the default. A file's name ends in the first 8 or more hexadecimal digits
            of its SHA-256, if known.
        preprocessing: The preprocessing that weights expect, by their name; the default is torchvision's 256 and crop.
        addresses: Addresses of files that are not in torchvision.
        builder: Returns, with random weights, a network that is not a plain ResNet, ``module:attribute``.
        arguments: Arguments of the builder.
        width: Channels of its last stage, if they do not follow from its blocks.
        colour: Colour in all figures; empty means any free one.
        marker: Marker in figures, for matplotlib and for plotly: the same shape in both.

    References:
        He et al. (2016), Deep Residual Learning for Image Recognition, table 1. Xie et al. (2017), Aggregated Residual
        Transformations, table 1: groups. Zagoruyko and Komodakis (2016), Wide Residual Networks: width.
    """

    name: str
    blocks: tuple[int, ...] = ()
    bottleneck: bool = False
    groups: int = 1
    width_per_group: int = 64
    weights_class: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    builder: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    width: int = 0
    colour: str = ""
    marker: tuple[str, str] = ("o", "circle")

    @property
    def n_features(self) -> int:
        """Return the length of its features, the channels of its last stage."""
        return self.width or (2048 if self.bottleneck else 512)


class Backbones(Registry[Backbone]):
    """Rows by name; timm's rows can be found but are not listed."""

    def find(self, name: str) -> Backbone:
        """Return the row for a name from the user.

        Raises:
            InputError: If there is none.
        """
        return self[name] if name.startswith(TIMM) else super().find(name)

    def __getitem__(self, name: str) -> Backbone:
        if name.startswith(TIMM):
            row: Backbone = load("resnet_mlflow.backbones.timm_family:timm_row")(name)
            return row
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        return name in self._rows


BACKBONES = Backbones(
    "backbone",
    Backbone(
        "resnet18",
        (2, 2, 2, 2),
        bottleneck=False,
        weights_class="ResNet18_Weights",
        weights={"IMAGENET1K_V1": "resnet18-f37072fd.pth"},
        colour="#414487",
        marker=("o", "circle"),
    ),
    Backbone(
        "resnet34",
        (3, 4, 6, 3),
        bottleneck=False,
        weights_class="ResNet34_Weights",
        weights={"IMAGENET1K_V1": "resnet34-b627a593.pth"},
        colour="#31688e",
        marker=("v", "triangle-down"),
    ),
    Backbone(
        "resnet50",
        (3, 4, 6, 3),
        bottleneck=True,
        weights_class="ResNet50_Weights",
        weights={"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        colour="#21918c",
        marker=("s", "square"),
    ),
    Backbone(
        "resnet101",
        (3, 4, 23, 3),
        bottleneck=True,
        weights_class="ResNet101_Weights",
        weights={"IMAGENET1K_V1": "resnet101-63fe2227.pth", "IMAGENET1K_V2": "resnet101-cd907fc2.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        colour="#2fb47c",
        marker=("D", "diamond"),
    ),
    Backbone(
        "resnet152",
        (3, 8, 36, 3),
        bottleneck=True,
        weights_class="ResNet152_Weights",
        weights={"IMAGENET1K_V1": "resnet152-394f9c45.pth", "IMAGENET1K_V2": "resnet152-f82ba261.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        colour="#5ec962",
        marker=("P", "cross"),
    ),
    Backbone(
        "resnext50_32x4d",
        (3, 4, 6, 3),
        bottleneck=True,
        groups=32,
        width_per_group=4,
        weights_class="ResNeXt50_32X4D_Weights",
        weights={"IMAGENET1K_V1": "resnext50_32x4d-7cdf4587.pth", "IMAGENET1K_V2": "resnext50_32x4d-1a0047aa.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        marker=("p", "pentagon"),
    ),
    Backbone(
        "resnext101_32x8d",
        (3, 4, 23, 3),
        bottleneck=True,
        groups=32,
        width_per_group=8,
        weights_class="ResNeXt101_32X8D_Weights",
        weights={"IMAGENET1K_V1": "resnext101_32x8d-8ba56ff5.pth", "IMAGENET1K_V2": "resnext101_32x8d-110c445d.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        marker=("h", "hexagon"),
    ),
    Backbone(
        "resnext101_64x4d",
        (3, 4, 23, 3),
        bottleneck=True,
        groups=64,
        width_per_group=4,
        weights_class="ResNeXt101_64X4D_Weights",
        weights={"IMAGENET1K_V1": "resnext101_64x4d-173b62eb.pth"},
        preprocessing={"IMAGENET1K_V1": _RESIZE_232},
        marker=("8", "octagon"),
    ),
    Backbone(
        "wide_resnet50_2",
        (3, 4, 6, 3),
        bottleneck=True,
        width_per_group=128,
        weights_class="Wide_ResNet50_2_Weights",
        weights={"IMAGENET1K_V1": "wide_resnet50_2-95faca4d.pth", "IMAGENET1K_V2": "wide_resnet50_2-9ba9bcbe.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        marker=("^", "triangle-up"),
    ),
    Backbone(
        "wide_resnet101_2",
        (3, 4, 23, 3),
        bottleneck=True,
        width_per_group=128,
        weights_class="Wide_ResNet101_2_Weights",
        weights={"IMAGENET1K_V1": "wide_resnet101_2-32ee1156.pth", "IMAGENET1K_V2": "wide_resnet101_2-d733dc28.pth"},
        preprocessing={"IMAGENET1K_V2": _RESIZE_232},
        marker=("X", "x"),
    ),
)
