"""Which backbones there are: a row each; what follows from a network's structure is computed from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from resnet_mlflow.registry import Registry


@dataclass(frozen=True)
class Backbone:
    """One network of the ResNet family.

    Attributes:
        name: What users call it; torchvision's name.
        builder: Returns the network with random weights, ``module:attribute``.
        blocks: Residual blocks per stage.
        bottleneck: Whether a block has three convolutions, the last of four times the width, instead of two.
        groups: Groups of a bottleneck's 3x3 convolution.
        width_per_group: Channels per group of the first stage; 64 is the plain ResNet.
        weights_class: torchvision's enumeration of its weights, which labels are made of.
        weights: File by name; the last is the default. A file's name ends in the first 8 hexadecimal digits of its
            SHA-256.
        colour: In every figure; empty means one that is free.
        marker: In figures, of matplotlib and of plotly: the same shape in both.

    References:
        He et al. (2016), Deep Residual Learning for Image Recognition, table 1. Xie et al. (2017), Aggregated Residual
        Transformations, table 1: groups. Zagoruyko and Komodakis (2016), Wide Residual Networks: width.
    """

    name: str
    builder: str
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width_per_group: int = 64
    weights_class: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    colour: str = ""
    marker: tuple[str, str] = ("o", "circle")

    @property
    def n_features(self) -> int:
        """Return the length of its features, the channels of its last stage."""
        return 2048 if self.bottleneck else 512


BACKBONES = Registry(
    "backbone",
    Backbone(
        "resnet18",
        "torchvision.models:resnet18",
        (2, 2, 2, 2),
        bottleneck=False,
        weights_class="ResNet18_Weights",
        weights={"IMAGENET1K_V1": "resnet18-f37072fd.pth"},
        colour="#414487",
        marker=("o", "circle"),
    ),
    Backbone(
        "resnet34",
        "torchvision.models:resnet34",
        (3, 4, 6, 3),
        bottleneck=False,
        weights_class="ResNet34_Weights",
        weights={"IMAGENET1K_V1": "resnet34-b627a593.pth"},
        colour="#31688e",
        marker=("v", "triangle-down"),
    ),
    Backbone(
        "resnet50",
        "torchvision.models:resnet50",
        (3, 4, 6, 3),
        bottleneck=True,
        weights_class="ResNet50_Weights",
        weights={"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
        colour="#21918c",
        marker=("s", "square"),
    ),
    Backbone(
        "resnet101",
        "torchvision.models:resnet101",
        (3, 4, 23, 3),
        bottleneck=True,
        weights_class="ResNet101_Weights",
        weights={"IMAGENET1K_V1": "resnet101-63fe2227.pth", "IMAGENET1K_V2": "resnet101-cd907fc2.pth"},
        colour="#2fb47c",
        marker=("D", "diamond"),
    ),
    Backbone(
        "resnet152",
        "torchvision.models:resnet152",
        (3, 8, 36, 3),
        bottleneck=True,
        weights_class="ResNet152_Weights",
        weights={"IMAGENET1K_V1": "resnet152-394f9c45.pth", "IMAGENET1K_V2": "resnet152-f82ba261.pth"},
        colour="#5ec962",
        marker=("P", "cross"),
    ),
)
