"""3 x 3 convolutions with 16 instead of 36 multiplications for every 2 x 2 pixels, for maps of many channels.

Additions take the place of the other multiplications. They go through memory, so that this is faster only where each
value enters many products; ``repays`` says where.

References:
    Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, section 4.1, F(2 x 2, 3 x 3).
"""

import torch
from torch import Tensor
from torch.nn import functional

# From here on, additions took less time than the multiplications that they save, with AVX2 and with AVX-512.
_MIN_CHANNELS, _MIN_SIDE = 256, 4
# Largest error for normally distributed maps, relative to the largest output: 3e-6. A convolution's own is 1e-6.
_OF_KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def repays(n_in: int, n_out: int, height: int, width: int) -> bool:
    """Return whether a 3 x 3 convolution of this shape, of stride 1, is faster in this form.

    Example:
        >>> repays(512, 512, 7, 7), repays(128, 128, 28, 28)
        (True, False)
    """
    return min(n_in, n_out) >= _MIN_CHANNELS and min(height, width) >= _MIN_SIDE


def transform_kernels(weight: Tensor) -> Tensor:
    """Return 3 x 3 kernels in the form that ``convolve`` multiplies by, ``(16, n_in, n_out)``.

    Args:
        weight: ``(n_out, n_in, 3, 3)``.
    """
    of_kernel = weight.new_tensor(_OF_KERNEL)
    squares = torch.einsum("ia,kcab,jb->ijck", of_kernel, weight, of_kernel)
    return squares.reshape(16, weight.shape[1], weight.shape[0]).contiguous()


def convolve(maps: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Return maps convolved with 3 x 3 kernels, of stride 1 and padding 1.

    Args:
        maps: ``(n, n_in, height, width)``, channels last.
        kernels: Result of ``transform_kernels``.
        bias: ``(n_out,)``.

    Returns:
        ``(n, n_out, height, width)``, channels last.
    """
    n, n_in, height, width = maps.shape
    n_out, high, wide = kernels.shape[2], -(-height // 2), -(-width // 2)  # in squares of 2 x 2 pixels
    margins = (0, 0, 1, 2 * wide + 1 - width, 1, 2 * high + 1 - height)
    lines = functional.pad(maps.permute(0, 2, 3, 1), margins)
    rows = maps.new_empty(4, n, high, 2 * wide + 2, n_in)
    _combine([lines[:, start : start + 2 * high : 2] for start in range(4)], list(rows))
    squares = maps.new_empty(4, 4, n, high, wide, n_in)
    _combine([rows[:, :, :, start : start + 2 * wide : 2] for start in range(4)], list(squares.unbind(1)))
    products = torch.bmm(squares.view(16, -1, n_in), kernels).view(4, 4, n, high, wide, n_out)
    summed = maps.new_empty(2, 4, n, high, wide, n_out)
    _sum(list(products), list(summed))
    result = maps.new_empty(n, 2 * high, 2 * wide, n_out)
    for start, row in enumerate(summed):
        _sum(list(row), [result[:, start::2, 0::2], result[:, start::2, 1::2]])
    return result.add_(bias)[:, :height, :width].permute(0, 3, 1, 2)


def _combine(values: list[Tensor], into: list[Tensor]) -> None:
    """Transform maps along one axis, from four neighbours to four factors."""
    torch.sub(values[0], values[2], out=into[0])
    torch.add(values[1], values[2], out=into[1])
    torch.sub(values[2], values[1], out=into[2])
    torch.sub(values[1], values[3], out=into[3])


def _sum(values: list[Tensor], into: list[Tensor]) -> None:
    """Transform products along one axis, from four to two neighbouring pixels."""
    torch.add(values[0], values[1], out=into[0]).add_(values[2])
    torch.sub(values[1], values[2], out=into[1]).sub_(values[3])
