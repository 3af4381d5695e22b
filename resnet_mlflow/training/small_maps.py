"""Convolutions with few results in training on a CPU, as matrix products of what falls within the map.

oneDNN computes several pixels of a line at once. On maps of 2 x 2 pixels, as the last stage of a ResNet has them for
images of 64, it reaches a fifth of a processor's speed, and multiplies the padding too: 56 % of a 3 x 3 kernel's taps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from resnet_mlflow.backbones.inference_layers import FEW_RESULTS, sides_of_result


class MultipliedSmallMaps(TorchFunctionMode):
    """A context that computes float32 convolutions with at most 2 x 2 results on a CPU by ``convolve``.

    Weights keep their names and modules their types, so that a network is saved and used as any other.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the result of a function of torch."""
        # nn.Conv2d passes everything by position.
        if func is not torch.conv2d or kwargs or len(args) != 7:
            return func(*args, **(kwargs or {}))
        maps, weight, bias, stride, padding, dilation, groups = args
        plain = dilation == (1, 1) and groups == 1 and not isinstance(padding, str)
        if not (plain and _is_float32(maps, weight)) or prod(_sides(maps, weight, stride, padding)) > FEW_RESULTS:
            return func(*args)
        convolved = convolve(maps, weight, stride, padding)
        return convolved if bias is None else convolved + bias[:, None, None]


def convolve(maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Return maps convolved with kernels, with gradients: the numbers of ``torch.conv2d`` up to rounding.

    Args:
        maps: ``(n, n_in, height, width)``, best channels last.
        weight: ``(n_out, n_in, height, width)``, best channels last: otherwise it is copied.
        stride: Down and across.
        padding: Above and below, left and right.

    Returns:
        ``(n, n_out, height, width)``, channels last.
    """
    convolved: Tensor = _Convolution.apply(maps, weight, stride, padding)
    return convolved


def _is_float32(maps: Tensor, weight: Tensor) -> bool:
    types = {maps.dtype, weight.dtype}
    return maps.device.type == "cpu" and types == {torch.float32} and not torch.is_autocast_enabled("cpu")


def _sides(maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    return sides_of_result(maps.shape, weight.shape[2:], stride, padding)


@dataclass(frozen=True)
class _Contact:
    """A line of a kernel at one place, as far as it lies within the map."""

    result: tuple[int, int]
    line: int
    pixels: slice
    kernel_line: int
    taps: slice


@cache
def _contacts(
    sides: torch.Size, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[_Contact, ...]:
    """Return all contacts of a kernel with a map; the first two are heights and widths."""
    down, across = (
        list(_within(size, n_taps, step, margin))
        for size, n_taps, step, margin in zip(sides, kernel, stride, padding, strict=True)
    )
    return tuple(
        _Contact((y, x), top + line, slice(left + taps.start, left + taps.stop), line, taps)
        for (y, (top, lines)), (x, (left, taps)) in product(enumerate(down), enumerate(across))
        for line in range(lines.start, lines.stop)
    )


def _within(size: int, n_taps: int, step: int, margin: int) -> Iterator[tuple[int, slice]]:
    """Yield where each place of a kernel begins, and its taps within the map."""
    for start in range(-margin, size + margin - n_taps + 1, step):
        yield start, slice(max(0, -start), min(n_taps, size - start))


class _Convolution(torch.autograd.Function):
    """Products of adjacent pixels with adjacent taps, which need no copies of either in channels-last memory."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        pixels, kernels = (values.permute(0, 2, 3, 1).contiguous() for values in (maps, weight))
        ctx.contacts = _contacts(maps.shape[2:], weight.shape[2:], stride, padding)
        ctx.save_for_backward(pixels, kernels)
        results = pixels.new_zeros(len(pixels), *_sides(maps, weight, stride, padding), len(kernels))
        for contact in ctx.contacts:
            of_map, of_kernel = _operands(pixels, kernels, contact)
            results[:, *contact.result].addmm_(of_map, of_kernel.t())
        return results.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        pixels, kernels = ctx.saved_tensors
        of_results = gradient.permute(0, 2, 3, 1).contiguous()
        of_pixels, of_kernels = (
            torch.zeros_like(values) if needed else None
            for values, needed in zip((pixels, kernels), ctx.needs_input_grad[:2], strict=True)
        )
        for contact in ctx.contacts:
            of_result = of_results[:, *contact.result]
            of_map, of_kernel = _operands(pixels, kernels, contact)
            if of_pixels is not None:
                _lines(of_pixels, contact.line, contact.pixels).addmm_(of_result, of_kernel)
            if of_kernels is not None:
                _lines(of_kernels, contact.kernel_line, contact.taps).addmm_(of_result.t(), of_map)
        return _channels_first(of_pixels), _channels_first(of_kernels), None, None


def _operands(pixels: Tensor, kernels: Tensor, contact: _Contact) -> tuple[Tensor, Tensor]:
    """Return ``(n, n_taps * n_in)`` of the maps, ``(n_out, n_taps * n_in)`` of the kernels."""
    return _lines(pixels, contact.line, contact.pixels), _lines(kernels, contact.kernel_line, contact.taps)


def _lines(values: Tensor, line: int, across: slice) -> Tensor:
    """Return a view of a part of a line of each item, flat: ``(n, height, width, n_in)`` to ``(n, n_values)``."""
    return values[:, line, across].view(len(values), -1)


def _channels_first(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.permute(0, 3, 1, 2)
