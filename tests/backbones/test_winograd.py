import pytest
import torch
from torch.nn import functional

from resnet_mlflow.backbones.winograd import (
    ONE_PIXEL,
    TILES,
    TWO_PIXELS,
    Scheme,
    convolve,
    scheme_for,
    transform_kernels,
)


@pytest.mark.parametrize(
    ("scheme", "height", "width"),
    [
        (ONE_PIXEL, 1, 1),
        (TWO_PIXELS, 2, 2),
        *((TILES, *sides) for sides in [(1, 1), (2, 2), (3, 5), (4, 4), (7, 7), (14, 9)]),
    ],
)
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 3, 5), (4, 6, 2), (7, 3000, 2)])
def test_convolve_equals_the_convolution_in_float64(
    scheme: Scheme, height: int, width: int, n: int, n_in: int, n_out: int
) -> None:
    generator = torch.Generator().manual_seed(height * width + n)
    maps = torch.randn(n, n_in, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(n_out, n_in, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(n_out, generator=generator, dtype=torch.float64)
    maps = maps.to(memory_format=torch.channels_last)
    before = maps.clone()
    convolved = convolve(maps, transform_kernels(weight, scheme), bias, scheme)
    expected = functional.conv2d(maps, weight, bias, padding=1)
    torch.testing.assert_close(convolved, expected, rtol=1e-12, atol=1e-12 * n_in)
    assert torch.equal(maps, before)
    # One pixel has the same strides in every format.
    assert convolved.shape[2:] == (1, 1) or convolved.permute(0, 2, 3, 1).stride(-1) == 1


@pytest.mark.parametrize(("scheme", "side"), [(TILES, 14), (TWO_PIXELS, 2)])
def test_errors_in_float32_are_as_documented(scheme: Scheme, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 256, side, side, generator=generator).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(256, 256, 3, 3, generator=generator), torch.zeros(256)
    exact = functional.conv2d(maps.double(), weight.double(), padding=1)
    error = (convolve(maps, transform_kernels(weight, scheme), bias, scheme) - exact).abs().max() / exact.abs().max()
    assert float(error) < 3e-6


@pytest.mark.parametrize(
    ("shape", "n_out", "expected"),
    [
        ((8, 256, 14, 14), 256, TILES),
        ((64, 256, 4, 4), 512, TILES),
        ((8, 512, 7, 7), 512, TILES),
        ((1, 512, 7, 7), 512, None),  # four tiles
        ((64, 256, 5, 5), 256, None),  # four tiles for 25 pixels
        ((64, 32, 28, 28), 256, None),
        ((64, 256, 28, 28), 32, None),
        ((1, 8, 2, 2), 8, TWO_PIXELS),
        ((1, 8, 1, 1), 8, ONE_PIXEL),
        ((1, 8, 1, 2), 8, None),
    ],
)
def test_the_shape_decides_on_the_scheme(shape: tuple[int, int, int, int], n_out: int, expected: Scheme | None) -> None:
    assert scheme_for(torch.Size(shape), n_out) is expected
