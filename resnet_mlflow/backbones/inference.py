"""Frozen backbones in the form that infers fastest: BatchNorm folded, channels last, small maps as one matrix product.

This form exists for networks whose layers act one after the other in the order of registration: torchvision's ResNets,
and timm's of the same class. Any other network runs unchanged.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resnet_mlflow.backbones.inference_layers import (
    BitReLU,
    BitReLUMaxPool,
    PackedBlock,
    PackedConv,
    SmallMapConv,
    can_pack,
    is_plain_3x3,
    is_residual_block,
)
from resnet_mlflow.backbones.quantized import can_quantize, has_int8, quantize
from resnet_mlflow.backbones.resnet import ResNet
from resnet_mlflow.errors import InputError

# Of images, and of all maps but int8's.
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """Return a frozen copy with each BatchNorm folded into the convolution registered right before it.

    Unchanged tensors share their memory with the module's.

    Args:
        module: A network in eval mode; it is not modified.
    """
    # Weights are not copied, because folding creates new ones anyway.
    shared = {id(parameter): nn.Parameter(parameter.detach(), False) for parameter in module.parameters()}
    buffers = {id(buffer): buffer for buffer in module.buffers()}
    folded = copy.deepcopy(module, memo=shared | buffers)
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (_, first), (next_name, second) in pairwise(children):
            # By exact type: subclasses of either do more, such as an activation.
            if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d:
                _take_in(first, second)
                setattr(parent, next_name, nn.Identity())
    return folded


def _take_in(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]


def _multiply_small_maps(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and is_plain_3x3(child):
                setattr(parent, name, SmallMapConv(child))


def _compare_bits(module: nn.Module) -> None:
    for parent in list(module.modules()):
        children = list(parent.named_children())
        for name, child in children:
            if type(child) is nn.ReLU and child.inplace:
                setattr(parent, name, BitReLU())
        for (name, first), (next_name, second) in pairwise(children):
            if type(first) is nn.ReLU and type(second) is nn.MaxPool2d and _is_plain_pooling(second):
                setattr(parent, name, nn.Identity())
                setattr(parent, next_name, BitReLUMaxPool())


def _pack(stages: nn.Module) -> None:
    """Pack the stem and the blocks of a ResNet; the blocks of timm's have further layers and stay."""
    if not can_pack():
        return
    children = list(stages.named_children())
    for (name, conv), (_, between), (relu_name, relu) in zip(children, children[1:], children[2:], strict=False):
        if type(conv) is nn.Conv2d and type(between) is nn.Identity and type(relu) is nn.ReLU:
            setattr(stages, name, PackedConv(conv, relu=True))
            setattr(stages, relu_name, nn.Identity())
    for parent in list(stages.modules()):
        for name, child in list(parent.named_children()):
            if is_residual_block(child):
                setattr(parent, name, PackedBlock(child))


def _speed_up(stages: nn.Module, dtype: torch.dtype) -> None:
    """Replace layers of folded stages, channels last on a CPU, by those that infer fastest."""
    if dtype == torch.float32:
        _pack(stages)
    else:
        _compare_bits(stages)
    _multiply_small_maps(stages)


def fast_stages(stages: nn.Sequential) -> nn.Module:
    """Return a frozen copy of float32 stages in the form that infers fastest on a CPU.

    Args:
        stages: The first of a ``stages_in_order``, in eval mode; not modified.
    """
    fast = fold_batchnorm(stages).to(memory_format=torch.channels_last)
    _speed_up(fast, torch.float32)
    return fast.eval()


def _int8_stages(backbone: nn.Module, device: torch.device | str) -> nn.Module:
    """Return a frozen copy of a backbone's stages in int8, images to float32 maps."""
    if torch.device(device).type != "cpu":
        raise InputError(f"precision=int8 must run on a processor (device=cpu), got {device}; use precision=auto")
    if not has_int8():
        found = torch.backends.cpu.get_cpu_capability()
        raise InputError(f"precision=int8 needs a processor with AVX2 or AVX-512, got {found}; use precision=auto")
    stages = stages_in_order(backbone)
    if not can_quantize(stages):
        kind = f"{type(backbone).__module__}.{type(backbone).__name__}"
        raise InputError(
            f"precision=int8 needs a ResNet of torchvision's kind, whose BatchNorm says what ranges its maps have, got "
            f"{kind}; use precision=auto"
        )
    quantized = quantize(stages, fold_batchnorm(backbone).to(memory_format=torch.channels_last))
    _pack(quantized)
    return quantized


def _is_plain_pooling(pool: nn.MaxPool2d) -> bool:
    return (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode) == (3, 2, 1, 1, False)


def stages_in_order(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that act in sequence up to the maps whose mean gives the features; empty if unknown."""
    kind = (type(backbone).__module__, type(backbone).__name__)
    if isinstance(backbone, ResNet) or kind == ("torchvision.models.resnet", "ResNet"):
        rest = ("avgpool", "fc")
    elif kind == ("timm.models.resnet", "ResNet") and getattr(backbone.global_pool, "pool_type", "") == "avg":
        rest = ("global_pool", "fc")
    else:
        return {}
    return {name: child for name, child in backbone.named_children() if name not in rest}


def plain_form(backbone: nn.Module) -> nn.Module:
    """Return a frozen copy of a backbone, with BatchNorm folded if its order is known: images to maps or features.

    Args:
        backbone: A network in eval mode; it is not modified.
    """
    if not stages_in_order(backbone):
        return nn.Sequential(copy.deepcopy(backbone).requires_grad_(False))
    return nn.Sequential(*stages_in_order(fold_batchnorm(backbone)).values())


class InferenceForm(nn.Module):
    """A frozen backbone for inference only: normalized images to float32 features.

    Args:
        backbone: Maps images to features or, without its pooling, to maps; it is copied, not modified.
        precision: ``fp32``, ``bf16`` or ``int8``.
        device: Device that it runs on.

    Raises:
        InputError: If the precision is int8, and the backbone or the processor does not support it.
    """

    def __init__(self, backbone: nn.Module, precision: str, device: torch.device | str) -> None:
        super().__init__()
        self.dtype = _DTYPES[precision]
        if precision == "int8":
            self.stages: nn.Module = _int8_stages(backbone, device)
            self.eval()
            return
        # In one call, so that weights are copied only once.
        self.stages = plain_form(backbone).to(device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if torch.device(device).type == "cpu" and stages_in_order(backbone):
            _speed_up(self.stages, self.dtype)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n_images, n_features)`` float32 of normalized ``(n_images, 3, side, side)``."""
        maps: Tensor = self.stages(images.to(self.dtype, memory_format=torch.channels_last)).float()
        # The mean is taken in float32: this costs nothing, and bf16 would round once more.
        return maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps


def inference_form(backbone: nn.Module, precision: str, device: torch.device | str = "cpu") -> InferenceForm:
    """Return the backbone in eval mode, BatchNorm folded, channels last, in the given precision.

    Args:
        backbone: Result of ``build_backbone``; it is not modified.
        precision: ``fp32``, ``bf16`` or ``int8``.
        device: Device that it runs on.
    """
    return InferenceForm(backbone, precision, device)
