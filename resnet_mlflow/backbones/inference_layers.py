"""Layers of a ResNet that give the numbers of torch's own, up to rounding, faster, for inference on a CPU."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.backbones import winograd

# Number of images that packed weights are laid out for. Their layout, and with it the order of summation, must not
# depend on which batch came first: the last one of a split is smaller.
N_PACKED_FOR = 8
# For fewer pixels, oneDNN may want the weights of a 1 x 1 convolution in another layout, and copying them takes 100
# times as long as the convolution.
_FEW_PIXELS = 128
# oneDNN computes several pixels of a line at once. Where the result has fewer, it reaches a third of its speed.
FEW_RESULTS = 2 * 2
# Blocks of convolutions, BatchNorm and ReLU alone: by name, since importing torchvision takes seconds.
_RESIDUAL_BLOCKS = {
    (module, name)
    for module in ("resnet_mlflow.backbones.resnet", "torchvision.models.resnet")
    for name in ("BasicBlock", "Bottleneck")
}
# On a map of 2 x 2 pixels, 4 of the 9 taps of a 3 x 3 kernel lie within the map; from 4 x 4 on, most do.
_SMALL_SIDE = 2


class SmallMapConv(nn.Module):
    """A 3 x 3 convolution of stride 1, computed as one matrix product if the map has at most 2 x 2 pixels.

    On maps this small most of the kernel falls on padding, and a convolution takes more than twice the time. The matrix
    holds the same weights, so the result is the same up to the order of summation.

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
        if not height == width <= _SMALL_SIDE:
            convolved: Tensor = self.conv(maps)
            return convolved
        # Threads that get here at the same time make the same matrix.
        if height not in self._matrices:
            self._matrices[height] = product_matrix(self.conv.weight, height)
        assert self.conv.bias is not None
        flat = maps.permute(0, 2, 3, 1).reshape(n_images, -1)
        product = functional.linear(flat, self._matrices[height], self.conv.bias.repeat(height * width))
        return product.view(n_images, height, width, -1).permute(0, 3, 1, 2)


def product_matrix(weight: Tensor, side: int) -> Tensor:
    """Return the matrix that convolves a whole map, ``(side * side * n_out, side * side * n_in)``.

    Args:
        weight: Weight of a 3 x 3 convolution with padding 1, ``(n_out, n_in, 3, 3)``.
        side: Side of the map, 1 or 2 pixels: on a larger one, the kernel does not connect all pixels.

    Example:
        >>> product_matrix(torch.arange(9.0).view(1, 1, 3, 3), 2).tolist()
        [[4.0, 5.0, 7.0, 8.0], [3.0, 4.0, 6.0, 7.0], [1.0, 2.0, 4.0, 5.0], [0.0, 1.0, 3.0, 4.0]]
    """
    n_out, n_in = weight.shape[:2]
    matrix = weight.new_empty(side, side, n_out, side, side, n_in)
    for y, x, from_y, from_x in product(range(side), repeat=4):
        # Block by block: gathering all taps at once took 52 instead of 1 to 4 ms for 512 channels.
        matrix[y, x, :, from_y, from_x] = weight[:, :, from_y - y + 1, from_x - x + 1]
    return matrix.view(side * side * n_out, side * side * n_in)


class PackedConv(nn.Module):
    """A float32 convolution in its fastest form for the size of its maps, with a sum and a ReLU after it.

    On most maps this is oneDNN's, on weights that it laid out once, with the sum and the ReLU in the same pass:
    ``nn.Conv2d`` lays its weights out anew in every pass, reads its result again to add a shortcut, and once more for
    the ReLU. Convolutions of 1 x 1 pixels are a general matrix product there, which sums in another order; others give
    the same numbers to the bit. Convolutions of 3 x 3 pixels are ``winograd``'s where that is faster, and those with
    few results are a matrix product.

    Args:
        conv: With a bias, channels last.
        relu: Whether a ReLU follows.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias
        self._is_plain_3x3, self._is_one_pixel = is_plain_3x3(conv), conv.kernel_size == (1, 1)
        self._shape = ([*conv.padding], [*conv.stride], [*conv.dilation], conv.groups)
        self._relu = relu
        self._packed: dict[torch.Size, Tensor] = {}
        self._transformed: dict[winograd.Scheme, Tensor] = {}

    def forward(self, maps: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Return the convolved maps, plus the shortcut and followed by a ReLU if there is one.

        Args:
            maps: ``(n_images, n_in, height, width)``, channels last.
            shortcut: What to add, of the result's shape; overwritten.
        """
        scheme = winograd.scheme_for(maps.shape, len(self.bias)) if self._is_plain_3x3 else None
        if scheme is not None:
            convolved = winograd.convolve(maps, self._kernels(scheme), self.bias, scheme)
        elif self._is_product(maps.shape):
            convolved = self._product(maps)
        else:
            return self._in_one_pass(maps, shortcut)
        if shortcut is not None:
            convolved.add_(shortcut)
        return convolved.relu_() if self._relu or shortcut is not None else convolved

    def _is_product(self, shape: torch.Size) -> bool:
        n_results = prod(self._sides(shape))
        few = n_results <= FEW_RESULTS or (self._is_one_pixel and shape[0] * n_results < _FEW_PIXELS)
        return few and self._shape[3] == 1 and self._shape[2] == [1, 1]

    def _sides(self, shape: torch.Size) -> tuple[int, int]:
        return sides_of_result(shape, self.weight.shape[2:], self._shape[1], self._shape[0])

    def _product(self, maps: Tensor) -> Tensor:
        (above, left), (down, across) = self._shape[:2]
        high, wide = self._sides(maps.shape)
        padded = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, left, left, above, above))
        patches = padded.unfold(1, self.weight.shape[2], down).unfold(2, self.weight.shape[3], across)
        rows = patches.permute(0, 1, 2, 4, 5, 3).reshape(len(maps) * high * wide, -1)
        # Channels last: a view.
        matrix = self.weight.permute(0, 2, 3, 1).reshape(len(self.bias), -1)
        product = functional.linear(rows, matrix, self.bias)
        return product.view(len(maps), high, wide, -1).permute(0, 3, 1, 2)

    def _in_one_pass(self, maps: Tensor, shortcut: Tensor | None) -> Tensor:
        arguments = (self._packed_for(maps), self.bias, *self._shape)
        operators = torch.ops.mkldnn
        if shortcut is None:
            after = "relu" if self._relu else "none"
            convolved: Tensor = operators._convolution_pointwise(maps, *arguments, after, [], "")
            return convolved
        added: Tensor = operators._convolution_pointwise_(shortcut, maps, *arguments, "add", 1.0, "relu", [], "")
        return added

    # Threads that get to the following at the same time make the same weights.

    def _packed_for(self, maps: Tensor) -> Tensor:
        size = maps.shape[1:]
        if size not in self._packed:
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # torch's types do not know its last argument
            self._packed[size] = pack(self.weight.to_mkldnn(), *self._shape, [N_PACKED_FOR, *size])
        return self._packed[size]

    def _kernels(self, scheme: winograd.Scheme) -> Tensor:
        if scheme not in self._transformed:
            self._transformed[scheme] = winograd.transform_kernels(self.weight, scheme)
        return self._transformed[scheme]


class PackedBlock(nn.Module):
    """A residual block whose convolutions are packed.

    Args:
        block: A block of ``backbones.resnet`` or torchvision, with BatchNorm folded.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        names = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
        self.first = nn.Sequential(*[PackedConv(getattr(block, name), relu=True) for name in names[:-1]])
        self.last = PackedConv(getattr(block, names[-1]), relu=False)
        shortcut = block.downsample
        self.shortcut = (
            PackedConv(cast("nn.Conv2d", shortcut[0]), relu=False) if isinstance(shortcut, nn.Sequential) else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n_images, n_out, height, width)``, channels last; maps are overwritten if they are the shortcut."""
        inner = self.first(maps)
        summed: Tensor = self.last(inner, maps if self.shortcut is None else self.shortcut(maps))
        return summed


def is_residual_block(module: nn.Module) -> bool:
    """Return whether a module is a block of ``backbones.resnet`` or torchvision."""
    return (type(module).__module__, type(module).__name__) in _RESIDUAL_BLOCKS


def is_plain_3x3(conv: nn.Conv2d) -> bool:
    """Return whether a convolution has 3 x 3 pixels, stride 1, padding 1, one group, and a bias."""
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and conv.groups == 1 and conv.bias is not None


def sides_of_result(
    maps: torch.Size, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, int]:
    """Return height and width of a convolution's result, without dilation.

    Args:
        maps: Shape of the maps, ``(n, n_in, height, width)``.
        kernel: Its height and width.
        stride: Down and across.
        padding: Above and below, left and right.
    """
    high, wide = (
        (size + 2 * margin - n_taps) // step + 1
        for size, n_taps, step, margin in zip(maps[2:], kernel, stride, padding, strict=True)
    )
    return high, wide


def can_pack() -> bool:
    """Return whether this build of torch has oneDNN's fused convolutions, on a processor that they are made for."""
    if torch.backends.cpu.get_cpu_capability() not in {"AVX2", "AVX512"}:
        return False
    names = ("_convolution_pointwise", "_convolution_pointwise_")
    return all(hasattr(torch.ops.mkldnn, name) for name in names) and hasattr(
        torch._C._nn, "mkldnn_reorder_conv2d_weight"
    )


class BitReLU(nn.Module):
    """The ReLU of bf16 numbers, in place, on their bits as integers: negative numbers are negative integers.

    torch's ReLU converts each bf16 number to float32 and back, which takes 3 to 7 times as long. A NaN from an
    overflow, which has its sign bit set, becomes 0.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps, bf16 of any shape, changed in place."""
        if torch.compiler.is_compiling():
            return functional.relu(maps)  # the compiler fuses it with the preceding convolution
        maps.view(torch.int16).clamp_(min=0)
        return maps


class BitReLUMaxPool(nn.Module):
    """ReLU, then 3 x 3 max pooling of stride 2, of bf16 numbers, on their bits as integers.

    Non-negative numbers have the same order as their bits, and the ReLU of a maximum is the maximum of ReLUs. Maxima
    are taken along one axis, then along the other.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(n_images, n_channels, side / 2, side / 2)`` of bf16 ``(n_images, n_channels, side, side)``."""
        if torch.compiler.is_compiling() or maps.shape[2] % 2 or maps.shape[3] % 2:
            return functional.max_pool2d(functional.relu(maps), 3, 2, 1)
        pooled = _pool_lines(_pool_lines(maps.view(torch.int16), 2), 3)
        return pooled.clamp_(min=0).view(maps.dtype)


def _pool_lines(bits: Tensor, axis: int) -> Tensor:
    """Return the maximum of each even position of the axis and its two neighbours."""
    n_places = bits.shape[axis] // 2
    even, odd = (bits.movedim(axis, 0)[start::2] for start in (0, 1))
    pooled = torch.maximum(even, odd)
    later = pooled[1:]
    torch.maximum(later, odd[: n_places - 1], out=later)
    return pooled.movedim(0, axis)
