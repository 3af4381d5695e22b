import pytest
import torch
from torch.nn import functional

from resnet_mlflow.backbones.winograd import convolve, repays, transform_kernels


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5), (4, 4), (7, 7), (14, 9)])
@pytest.mark.parametrize(("n", "n_in", "n_out"), [(1, 3, 5), (4, 6, 2)])
def test_convolve_equals_the_convolution_in_float64(height: int, width: int, n: int, n_in: int, n_out: int) -> None:
    generator = torch.Generator().manual_seed(height * width + n)
    maps = torch.randn(n, n_in, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(n_out, n_in, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(n_out, generator=generator, dtype=torch.float64)
    maps = maps.to(memory_format=torch.channels_last)
    before = maps.clone()
    convolved = convolve(maps, transform_kernels(weight), bias)
    torch.testing.assert_close(convolved, functional.conv2d(maps, weight, bias, padding=1), rtol=1e-12, atol=1e-12)
    assert torch.equal(maps, before)
    # One pixel has the same strides in every format.
    assert convolved.shape[2:] == (1, 1) or convolved.permute(0, 2, 3, 1).stride(-1) == 1


def test_errors_in_float32_are_as_documented() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 256, 14, 14, generator=generator).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(256, 256, 3, 3, generator=generator), torch.zeros(256)
    exact = functional.conv2d(maps.double(), weight.double(), padding=1)
    error = (convolve(maps, transform_kernels(weight), bias) - exact).abs().max() / exact.abs().max()
    assert float(error) < 4e-6


def test_only_many_channels_repay() -> None:
    assert repays(256, 256, 14, 14)
    assert repays(256, 512, 4, 4)
    assert not repays(256, 256, 3, 3)
    assert not repays(128, 256, 28, 28)
    assert not repays(256, 128, 14, 14)
