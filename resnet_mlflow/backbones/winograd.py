"""3 x 3 convolutions of stride 1 with fewer multiplications: 36 instead of 144 for 4 x 4 pixels, 9 for a 2 x 2 map.

Maps and products are transformed by small matrices, which takes the place of the other multiplications. ``scheme_for``
says where this is faster.

References:
    Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, section 4.1, F(4 x 4, 3 x 3).
    Barabasz et al. (2020), Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks:
    the choice of points decides the error.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# Transforming maps of fewer channels takes as long as the multiplications that it saves.
_MIN_CHANNELS = 64 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 128
# As few are not worth reading the transformed weights, four times as many.
_FEW_TILES = 16
# Values of a piece, per place of a patch: three arrays of 2.4 MB stay in a core's caches.
_PIECE = 16384


@dataclass(frozen=True, eq=False)
class Scheme:
    """Tiles of pixels, each computed from a patch of them, and what transforms each axis; float64.

    Attributes:
        tile: Side of the pixels computed together.
        margin: Pixels of padding on each side of the map.
        of_patch: ``(n_factors, patch)``.
        of_kernel: ``(n_factors, 3)``.
        of_products: ``(tile, n_factors)``.
    """

    tile: int
    margin: int
    of_patch: Tensor
    of_kernel: Tensor
    of_products: Tensor

    @property
    def patch(self) -> int:
        """Side of the pixels that a tile is computed from."""
        return self.tile + 2 * self.margin

    def n_tiles(self, n_pixels: int) -> int:
        """Return the number of tiles that cover a side of a map."""
        return -(-n_pixels // self.tile)


def _powers(points: tuple[float, ...], n: int) -> NDArray[np.float64]:
    """Return the powers 0 to n - 1 of points, and of infinity, where the highest alone remains."""
    return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1:]])


def _evaluating_at(points: tuple[float, ...], tile: int) -> Scheme:
    # By NumPy, since torch's first call of linear algebra takes 8 ms.
    of_patch = np.linalg.inv(_powers(points, tile + 2)).T
    # With these divisors in the kernels, which are transformed only once, the other numbers are short binary fractions.
    divisors = np.append(of_patch[:-1, -2], 1.0)[:, None]
    matrices = (of_patch / divisors, _powers(points, 3) * divisors, _powers(points, tile).T)
    return Scheme(tile, 1, *(torch.from_numpy(matrix) for matrix in matrices))


def _matrix(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Largest error for normally distributed maps, relative to the largest output: 2e-6; with the usual points 0, 1, -1, 2,
# -2, 8e-6. A convolution's own is 1e-6.
TILES = _evaluating_at((0.0, 0.75, -0.75, 1.5, -1.5), 4)
# A map of 2 pixels a side: (d0 + d1) k1 is part of both results, d1 (k2 - k1) and d0 (k0 - k1) complete them.
TWO_PIXELS = Scheme(
    2, 0, _matrix((1, 1), (1, 0), (0, 1)), _matrix((0, 1, 0), (1, -1, 0), (0, -1, 1)), _matrix((1, 0, 1), (1, 1, 0))
)
# On one pixel, the middle of the kernel alone falls on the map.
ONE_PIXEL = Scheme(1, 0, _matrix((1,)), _matrix((0, 1, 0)), _matrix((1,)))


def scheme_for(shape: torch.Size, n_out: int) -> Scheme | None:
    """Return the scheme by which a 3 x 3 convolution of stride 1 and padding 1 is faster, if there is one.

    Args:
        shape: Of the maps, ``(n, n_in, height, width)``.
        n_out: Number of channels of the result.

    Example:
        >>> scheme_for(torch.Size([8, 512, 7, 7]), 512) is TILES, scheme_for(torch.Size([8, 32, 56, 56]), 32)
        (True, None)
    """
    n, n_in, height, width = shape
    if height == width <= 2:
        return ONE_PIXEL if height == 1 else TWO_PIXELS
    if min(n_in, n_out) < _MIN_CHANNELS:
        return None
    n_tiles = TILES.n_tiles(height) * TILES.n_tiles(width)
    # Taps of the kernel that fall within the map: a convolution leaves the others out.
    n_taps = (3 * height - 2) * (3 * width - 2)
    repays = 2 * TILES.patch**2 * n_tiles <= n_taps and n * n_tiles > _FEW_TILES
    return TILES if repays else None


def transform_kernels(weight: Tensor, scheme: Scheme) -> Tensor:
    """Return 3 x 3 kernels in the form that ``convolve`` multiplies by, ``(n_products, n_in, n_out)``.

    Args:
        weight: ``(n_out, n_in, 3, 3)``.
        scheme: What they are transformed for.
    """
    n_out, n_in = weight.shape[:2]
    _, of_kernel, _ = _along_both_axes(scheme, weight.dtype)
    return torch.mm(of_kernel, weight.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, n_in, n_out)


def convolve(maps: Tensor, kernels: Tensor, bias: Tensor, scheme: Scheme) -> Tensor:
    """Return maps convolved with 3 x 3 kernels, of stride 1 and padding 1.

    Args:
        maps: ``(n, n_in, height, width)``, channels last.
        kernels: Result of ``transform_kernels``.
        bias: ``(n_out,)``.
        scheme: ``TILES``, or the one for maps of this size.

    Returns:
        ``(n, n_out, height, width)``, channels last.
    """
    n, n_in, height, width = maps.shape
    high, wide = scheme.n_tiles(height), scheme.n_tiles(width)
    padded = maps.permute(0, 2, 3, 1)
    if scheme.margin:
        right, below = (scheme.tile * n_tiles + 1 - n for n_tiles, n in ((wide, width), (high, height)))
        padded = functional.pad(padded, (0, 0, 1, right, 1, below))
    result = maps.new_empty(n, scheme.tile * high, scheme.tile * wide, kernels.shape[2])
    size = max(1, _PIECE // (high * wide * n_in))
    for piece, into in zip(torch.split(padded, size), torch.split(result, size), strict=True):
        _convolve_piece(piece, kernels, bias, scheme, into)
    return result[:, :height, :width].permute(0, 3, 1, 2)


def _convolve_piece(padded: Tensor, kernels: Tensor, bias: Tensor, scheme: Scheme, into: Tensor) -> None:
    """Convolve ``(n, high, wide, n_in)`` with margins into ``(n, tile * high, tile * wide, n_out)``."""
    of_patch, _, of_products = _along_both_axes(scheme, padded.dtype)
    n_in, n_out, tile = *kernels.shape[1:], scheme.tile
    tiled = into.view(len(into), into.shape[1] // tile, tile, into.shape[2] // tile, tile, n_out)
    # Places within the patch come first, so that each transform is one matrix product.
    patches = padded.unfold(1, scheme.patch, tile).unfold(2, scheme.patch, tile).permute(4, 5, 0, 1, 2, 3)
    factors = torch.mm(of_patch, patches.reshape(scheme.patch**2, -1)).view(len(kernels), -1, n_in)
    products = torch.bmm(factors, kernels).view(len(kernels), -1)
    pixels = torch.mm(of_products, products).view(tile, tile, *tiled.shape[0:2], tiled.shape[3], n_out)
    torch.add(pixels.permute(2, 3, 0, 4, 1, 5), bias, out=tiled)


@cache
def _along_both_axes(scheme: Scheme, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return the matrices that transform flattened patches, kernels and products."""
    along_one = (scheme.of_patch, scheme.of_kernel, scheme.of_products)
    along_both = [torch.kron(matrix, matrix).to(dtype).contiguous() for matrix in along_one]
    return along_both[0], along_both[1], along_both[2]
