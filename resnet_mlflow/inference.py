"""Frozen backbones in the form that infers fastest: BatchNorm folded, channels last, small maps as one product."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Of a map of 2 x 2 pixels, 4 of 9 taps of a 3 x 3 kernel lie within it; from 4 x 4 on, most do.
_SMALL_SIDE = 2


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """Return a frozen copy in which every convolution has taken in the BatchNorm registered right after it.

    Tensors that stay as they are share their memory with the module's.

    Args:
        module: A network in eval mode; it is left as it is.
    """
    # Weights are not copied, because folding makes new ones anyhow.
    shared = {id(parameter): nn.Parameter(parameter.detach(), False) for parameter in module.parameters()}
    buffers = {id(buffer): buffer for buffer in module.buffers()}
    folded = copy.deepcopy(module, memo=shared | buffers)
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (_, first), (next_name, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                _take_in(first, second)
                setattr(parent, next_name, nn.Identity())
    return folded


def _take_in(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]


class SmallMapConv(nn.Module):
    """A 3 x 3 convolution of stride 1 that multiplies one matrix where the map has at most 2 x 2 pixels.

    There most of the kernel falls on padding, and a convolution takes more than twice the time. The matrix holds
    the same weights, so the result is the same but for the order of its sums.

    Args:
        conv: 3 x 3, stride 1, padding 1, one group, with a bias; used as it is on larger maps.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._matrices: dict[int, Tensor] = {}

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n_images, n_out, side, side)`` of ``(n_images, n_in, side, side)``."""
        n_images, _, height, width = maps.shape
        if height != width or height > _SMALL_SIDE:
            convolved: Tensor = self.conv(maps)
            return convolved
        # Threads that come here at once make the same matrix.
        if height not in self._matrices:
            self._matrices[height] = product_matrix(self.conv.weight, height)
        assert self.conv.bias is not None
        flat = maps.permute(0, 2, 3, 1).reshape(n_images, -1)
        product = functional.linear(flat, self._matrices[height], self.conv.bias.repeat(height * width))
        return product.view(n_images, height, width, -1).permute(0, 3, 1, 2)


def product_matrix(weight: Tensor, side: int) -> Tensor:
    """Return the matrix that convolves a whole map, ``(side * side * n_out, side * side * n_in)``.

    Args:
        weight: Of a 3 x 3 convolution with padding 1, ``(n_out, n_in, 3, 3)``.
        side: Of the map, 1 or 2 pixels: of a larger one, some pixels do not meet.

    Example:
        >>> product_matrix(torch.arange(9.0).view(1, 1, 3, 3), 2).tolist()
        [[4.0, 5.0, 7.0, 8.0], [3.0, 4.0, 6.0, 7.0], [1.0, 2.0, 4.0, 5.0], [0.0, 1.0, 3.0, 4.0]]
    """
    n_out, n_in = weight.shape[:2]
    # The tap that weighs input pixel i in output pixel o, along one axis.
    taps = torch.arange(side) - torch.arange(side)[:, None] + 1
    pairs = weight[:, :, taps[:, None, :, None], taps[None, :, None, :]]  # out, in, then y and x of both pixels
    return pairs.permute(2, 3, 0, 4, 5, 1).reshape(side * side * n_out, side * side * n_in)


def _multiply_small_maps(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _is_plain_3x3(child):
                setattr(parent, name, SmallMapConv(child))


def _is_plain_3x3(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and conv.groups == 1


class InferenceForm(nn.Module):
    """A frozen backbone for inference only: normalized images to float32 features.

    Args:
        backbone: A ResNet; it is copied and left as it is.
        precision: ``fp32`` or ``bf16``.
        device: Where it runs.
    """

    def __init__(self, backbone: nn.Module, precision: str, device: torch.device | str) -> None:
        super().__init__()
        self.dtype = _DTYPES[precision]
        frozen = fold_batchnorm(backbone)
        stages = [child for name, child in frozen.named_children() if name not in ("avgpool", "fc")]
        # At once, so that weights are copied once.
        self.stages: nn.Module = nn.Sequential(*stages).to(device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if torch.device(device).type == "cpu":
            _multiply_small_maps(self.stages)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n_images, n_features)`` float32 of normalized ``(n_images, 3, side, side)``."""
        maps = self.stages(images.to(self.dtype, memory_format=torch.channels_last))
        # The mean is taken in float32: it costs nothing, and bf16 would round it once more.
        pooled: Tensor = maps.float().mean(dim=(2, 3))
        return pooled


def inference_form(backbone: nn.Module, precision: str, device: torch.device | str = "cpu") -> InferenceForm:
    """Return the backbone in eval mode, BatchNorm folded, channels last, in the given precision.

    Args:
        backbone: As ``build_backbone`` gives it; it is left as it is.
        precision: ``fp32`` or ``bf16``.
        device: Where it runs.
    """
    return InferenceForm(backbone, precision, device)
