"""Residual blocks in int8 on a CPU, with ranges that follow from the weights: features depend on no other images.

BatchNorm states mean and variance of each channel after every convolution: its ``bias`` and the square of its
``weight``, as far as its running statistics are those of the images. Taken as normally distributed, they say where
values end, what a ReLU leaves, and by how much rounded weights shift a mean. Sums of products are exact on processors
with and without instructions for them (VNNI); features differ by what the first convolution, in float32, rounds.

References:
    Nagel et al. (2019), Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2 (bias
    correction) and 5 (ranges of 6 standard deviations). Jacob et al. (2018), Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference, equation 1.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from resnet_mlflow.backbones.inference_layers import N_PACKED_FOR, is_residual_block

# Ranges reach this many standard deviations from the mean.
_DEVIATIONS = 6.0
_LEVELS = 255
# Two products of 8 bits and these 7 fit into 16 bits: without VNNI, processors add them there, and saturate.
_MOST = 63
# Of a channel whose weights are all 0.
_SMALLEST_STEP = 1e-12


class Scale(NamedTuple):
    """What uint8 stands for: ``step * (value - zero)``."""

    step: float
    zero: int = 0


@dataclass(frozen=True)
class Channels:
    """Channels of a map, each taken as normally distributed.

    Attributes:
        mean: ``(n_channels,)``.
        std: Standard deviation, ``(n_channels,)``.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def after(cls, norm: nn.Module) -> "Channels":
        """Return the channels after a BatchNorm."""
        assert isinstance(norm, nn.BatchNorm2d)
        return cls(norm.bias.detach(), norm.weight.detach().abs())

    def plus(self, other: "Channels") -> "Channels":
        """Return the channels of a sum, as wide as if both were fully correlated: in deep networks they nearly are."""
        return Channels(self.mean + other.mean, self.std + other.std)

    def rectified(self) -> "Channels":
        """Return mean and standard deviation after a ReLU (Nagel et al. 2019, appendix C)."""
        std = self.std.clamp_min(_SMALLEST_STEP)
        ratio = self.mean / std
        density = torch.exp(-ratio.square() / 2) / sqrt(2 * pi)
        share = torch.special.ndtr(ratio)
        mean = self.mean * share + std * density
        square = (self.mean.square() + std.square()) * share + self.mean * std * density
        return Channels(mean, (square - mean.square()).clamp_min(0).sqrt())

    @property
    def scale(self) -> Scale:
        """Return the scale of signed values."""
        low = min(0.0, float((self.mean - _DEVIATIONS * self.std).min()))
        step = max((self._highest - low) / _LEVELS, _SMALLEST_STEP)
        return Scale(step, round(-low / step))

    @property
    def rectified_scale(self) -> Scale:
        """Return the scale of values after a ReLU."""
        return Scale(max(self._highest / _LEVELS, _SMALLEST_STEP))

    @property
    def _highest(self) -> float:
        return max(0.0, float((self.mean + _DEVIATIONS * self.std).max()))


class QuantizedConv(nn.Module):
    """A convolution of uint8 maps with int8 weights, which have a step per output channel; with a ReLU after it or not.

    Args:
        conv: With a bias and BatchNorm folded, channels last.
        maps: Scale of its input.
        mean: Mean of each channel of its input, ``(n_in,)``.
        result: Scale of its result; None means float32.
        relu: Whether a ReLU follows.
    """

    def __init__(self, conv: nn.Conv2d, maps: Scale, mean: Tensor, result: Scale | None, relu: bool) -> None:
        super().__init__()
        assert conv.bias is not None
        weight = conv.weight.detach()
        self._steps = (weight.abs().amax(dim=(1, 2, 3)) / _MOST).clamp_min(_SMALLEST_STEP)
        steps = self._steps[:, None, None, None]
        self._weight = (weight / steps).round().to(torch.int8)
        # What rounding shifts the mean by, since maps have a mean of their own.
        rounding = (self._weight * steps - weight).sum(dim=(2, 3))
        means = mean.view(conv.groups, -1).repeat_interleave(len(weight) // conv.groups, dim=0)
        self._bias = conv.bias.detach() - (rounding * means).sum(dim=1)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._shape = ([*conv.stride], [*conv.padding], [*conv.dilation], conv.groups)
        self._maps, self._result, self._relu = maps, result, relu
        self._packed: dict[torch.Size, Tensor] = {}

    def forward(self, maps: Tensor, shortcut: Tensor | None = None, scale: Scale | None = None) -> Tensor:
        """Return the convolved maps, plus the shortcut and followed by a ReLU if there is one.

        Args:
            maps: ``(n_images, n_in, height, width)`` uint8, channels last.
            shortcut: What to add, uint8 of the result's shape; overwritten.
            scale: Of the shortcut.
        """
        step, zero = self._result or Scale(1.0)
        dtype = torch.float32 if self._result is None else torch.uint8
        convolved = (maps, *self._maps, self._packed_for(maps), self._steps, self._zeros)
        result = (self._bias, *self._shape, step, zero, dtype)
        operators = torch.ops.onednn.qconv2d_pointwise
        if shortcut is None or scale is None:
            plain: Tensor = operators(*convolved, *result, "relu" if self._relu else "none", [], "")
            return plain
        summed: Tensor = operators.binary(*convolved, shortcut, *result, *scale, "sum", 1.0, "relu", [], "")
        return summed

    def _packed_for(self, maps: Tensor) -> Tensor:
        # Threads that get here at the same time make the same weights.
        size = maps.shape[1:]
        if size not in self._packed:
            shape = [N_PACKED_FOR, *size]
            self._packed[size] = torch.ops.onednn.qconv_prepack(
                self._weight, self._steps, *self._maps, *self._shape, shape
            )
        return self._packed[size]


class QuantizedBlock(nn.Module):
    """A residual block of uint8 maps.

    Args:
        block: A block of ``backbones.resnet`` or torchvision.
        folded: The same with BatchNorm folded, channels last.
        scale: Of its input.
        channels: Channels of its input.
        last: Whether the result is float32: the means of the last maps are the features.
    """

    def __init__(self, block: nn.Module, folded: nn.Module, scale: Scale, channels: Channels, last: bool) -> None:
        super().__init__()
        *inner, end = [number for number in "123" if hasattr(block, f"conv{number}")]
        convs: list[nn.Module] = []
        maps, mean = scale, channels.mean
        for number in inner:
            before_relu = Channels.after(block.get_submodule(f"bn{number}"))
            conv = _conv(folded, f"conv{number}")
            convs.append(QuantizedConv(conv, maps, mean, before_relu.rectified_scale, relu=True))
            maps, mean = before_relu.rectified_scale, before_relu.rectified().mean
        self.first = nn.Sequential(*convs)
        self.shortcut: nn.Module | None = None
        added, self._added = channels, scale
        if block.downsample is not None:
            added = Channels.after(block.get_submodule("downsample.1"))
            self._added = added.scale
            self.shortcut = QuantizedConv(_conv(folded, "downsample.0"), scale, channels.mean, added.scale, relu=False)
        summed = Channels.after(block.get_submodule(f"bn{end}")).plus(added)
        self.scale, self.channels = summed.rectified_scale, summed.rectified()
        result = None if last else self.scale
        self.last = QuantizedConv(_conv(folded, f"conv{end}"), maps, mean, result, relu=False)
        self._is_last = last

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n_images, n_out, height, width)``; maps are overwritten if they are the shortcut."""
        inner = self.first(maps)
        added = maps if self.shortcut is None else self.shortcut(maps)
        if not self._is_last:
            summed: Tensor = self.last(inner, added, self._added)
            return summed
        result: Tensor = self.last(inner)
        return result.add_((added.float() - self._added.zero) * self._added.step).relu_()


class Quantized(nn.Module):
    """Float32 maps after a ReLU as uint8.

    Args:
        scale: Of the result.
    """

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self._step = scale.step

    def forward(self, maps: Tensor) -> Tensor:
        """Return uint8 maps of the same shape."""
        return (maps / self._step).round_().clamp_(max=_LEVELS).to(torch.uint8)


def quantize(stages: dict[str, nn.Module], folded: nn.Module) -> nn.Sequential:
    """Return the network with its residual blocks in int8; the first convolution, which takes a tenth, stays as it is.

    Args:
        stages: Result of ``stages_in_order``.
        folded: The network with BatchNorm folded, channels last.
    """
    names = [name for name, stage in stages.items() if isinstance(stage, nn.Sequential)]
    before_relu = Channels.after(stages["bn1"])
    scale, channels = before_relu.rectified_scale, before_relu.rectified()
    quantized = [folded.get_submodule(name) for name in stages if name not in names]
    quantized.append(Quantized(scale))
    pairs = [pair for name in names for pair in _blocks(stages[name], folded.get_submodule(name))]
    for number, (block, without_norms) in enumerate(pairs, start=1):
        one = QuantizedBlock(block, without_norms, scale, channels, last=number == len(pairs))
        quantized.append(one)
        scale, channels = one.scale, one.channels
    return nn.Sequential(*quantized)


def can_quantize(stages: dict[str, nn.Module]) -> bool:
    """Return whether layers are those of a ResNet whose blocks are convolutions, BatchNorm and ReLU alone.

    Args:
        stages: Result of ``stages_in_order``.
    """
    blocks = [block for stage in stages.values() if isinstance(stage, nn.Sequential) for block in stage]
    modules = [module for stage in stages.values() for module in stage.modules()]
    norms = [module for module in modules if "Norm" in type(module).__name__]
    says_ranges = all(isinstance(norm, nn.BatchNorm2d) and norm.affine for norm in norms)
    return bool(blocks) and says_ranges and all(is_residual_block(block) for block in blocks)


def has_int8() -> bool:
    """Return whether this build of torch has oneDNN's convolutions in int8, on a processor that they are made for."""
    fast = torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}
    return fast and hasattr(torch.ops.onednn, "qconv2d_pointwise") and hasattr(torch.ops.onednn, "qconv_prepack")


def _blocks(stage: nn.Module, folded: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    return list(zip(stage.children(), folded.children(), strict=True))


def _conv(module: nn.Module, name: str) -> nn.Conv2d:
    return cast("nn.Conv2d", module.get_submodule(name))
