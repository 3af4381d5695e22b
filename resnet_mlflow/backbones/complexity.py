"""Size and work of ResNet backbones, counted from their structure without building torchvision's networks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.backbones import BACKBONES, Backbone

BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Complexity:
    """Size and work of a backbone without its last linear layer.

    Attributes:
        n_parameters: Weights of convolutions and BatchNorm.
        macs: Multiply-accumulates of its convolutions for one image.
        n_features: Length of its features.
    """

    n_parameters: int
    macs: int
    n_features: int

    @property
    def mebibytes(self) -> float:
        """Return the size of the weights in fp32."""
        return self.n_parameters * BYTES_PER_PARAMETER / 2**20


@dataclass(frozen=True)
class _Convolution:
    n_in: int
    n_out: int
    kernel: int
    side: int  # side of its output
    groups: int = 1

    @property
    def n_weights(self) -> int:
        return self.n_in // self.groups * self.n_out * self.kernel**2


def backbone_complexity(backbone: str, image_size: int) -> Complexity:
    """Return parameters, MACs and number of features of a backbone.

    Args:
        backbone: One of ``registry.backbones.BACKBONES``.
        image_size: Side of its input in pixels.

    References:
        He et al. (2016), Deep Residual Learning for Image Recognition, table 1; bottlenecks stride in their 3x3
        convolution, as torchvision's do.

    Example:
        >>> found = backbone_complexity("resnet50", 224)
        >>> found.n_parameters, round(found.macs / 1e9, 2), found.n_features
        (23508032, 4.09, 2048)
    """
    row = BACKBONES.find(backbone)
    if not row.blocks:
        return _counted(row, image_size)
    layers = list(_convolutions(row, image_size))
    # A BatchNorm with a scale and a shift per channel follows each convolution.
    n_parameters = sum(layer.n_weights + 2 * layer.n_out for layer in layers)
    macs = sum(layer.n_weights * layer.side**2 for layer in layers)
    return Complexity(n_parameters, macs, row.n_features)


def is_countable(backbone: str) -> bool:
    """Return whether this machine knows the backbone: a run from elsewhere may use one of timm's."""
    try:
        BACKBONES.find(backbone)
    except InputError:
        return False
    return True


def _convolutions(row: Backbone, image_size: int) -> Iterator[_Convolution]:
    side = _halved(image_size)
    yield _Convolution(3, 64, 7, side)
    side, width = _halved(side), 64  # the max pooling
    for stage, n_blocks in enumerate(row.blocks):
        plain = 64 * 2**stage
        outer = 4 * plain if row.bottleneck else plain
        for block in range(n_blocks):
            strided = block == 0 and stage > 0
            before, side = side, _halved(side) if strided else side
            if row.bottleneck:
                inner = plain * row.width_per_group // 64 * row.groups
                yield _Convolution(width, inner, 1, before)
                yield _Convolution(inner, inner, 3, side, row.groups)
                yield _Convolution(inner, outer, 1, side)
            else:
                yield _Convolution(width, plain, 3, side)
                yield _Convolution(plain, plain, 3, side)
            if strided or width != outer:
                yield _Convolution(width, outer, 1, side)
            width = outer


@cache
def _counted(row: Backbone, image_size: int) -> Complexity:
    """Return size and work of a network whose structure no row describes, by passing shapes through its layers."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from resnet_mlflow.backbones.networks import without_numbers

    network = without_numbers(row.name).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return Complexity(n_parameters, counter.get_total_flops() // 2, row.n_features)


def _halved(side: int) -> int:
    return (side + 1) // 2
