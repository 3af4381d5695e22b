"""Frozen backbones in the form that infers fastest: BatchNorm folded, channels last, small maps as one product."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resnet_mlflow.backbones.inference_layers import BitReLU, BitReLUMaxPool, SmallMapConv

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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


def _multiply_small_maps(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _is_plain_3x3(child):
                setattr(parent, name, SmallMapConv(child))


def _compare_bits(module: nn.Module) -> None:
    for parent in list(module.modules()):
        children = list(parent.named_children())
        for name, child in children:
            if isinstance(child, nn.ReLU):
                setattr(parent, name, BitReLU())
        for (name, first), (next_name, second) in pairwise(children):
            if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
                setattr(parent, name, nn.Identity())
                setattr(parent, next_name, BitReLUMaxPool())


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
            if self.dtype == torch.bfloat16:
                _compare_bits(self.stages)
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
