"""Layers of a ResNet that give the same numbers faster than torch's own, for inference on a CPU."""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        if height != width or height > _SMALL_SIDE:
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
