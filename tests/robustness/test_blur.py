import numpy as np
import pytest
import torch
from scipy import ndimage

from resnet_mlflow.robustness.blur import disk, glass, motion_blur, zoom_centre
from resnet_mlflow.robustness.convolution import filter2d, gaussian_blur
from resnet_mlflow.robustness.random import ItemRandom, item_keys


def point(size: int, at: int) -> torch.Tensor:
    planes = torch.zeros(1, 1, size, size)
    planes[0, 0, at, at] = 1
    return planes


def test_disk_of_a_small_radius_is_one_pixel_widened_by_the_alias() -> None:
    weights = np.exp([-0.5 / 0.5**2, 0, -0.5 / 0.5**2])
    weights /= weights.sum()

    np.testing.assert_allclose(disk(0.4, 0.5).numpy(), np.outer(weights, weights), atol=1e-12)


def test_disk_has_the_area_of_its_radius() -> None:
    kernel = disk(10, 0.5)

    assert kernel.shape == (21, 21)
    # Blurring it mirrors at its rim, where the disk touches; the published kernel gains 1 % by that.
    assert kernel.sum() == pytest.approx(1.0108, abs=1e-4)
    assert disk(6, 0.5).sum() == pytest.approx(1)
    assert 1 / kernel[10, 10].item() == pytest.approx(np.pi * 10**2, rel=0.02)


@pytest.mark.parametrize("border", ["reflect", "mirror", "nearest"])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0, 15.0])
def test_gaussian_blur_equals_scipy(sigma: float, border: str) -> None:
    planes = torch.rand(2, 20, 33, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(planes.double().numpy(), (0, sigma, sigma), mode=border)

    np.testing.assert_allclose(gaussian_blur(planes, sigma, border=border), expected, atol=1e-5)


def test_filter2d_correlates() -> None:
    kernel = torch.arange(9.0, dtype=torch.float64).view(3, 3)

    # A point shows the kernel turned about its centre.
    assert torch.equal(filter2d(point(20, 5), kernel, "mirror")[0, 0, 4:7, 4:7], kernel.float().flip(0, 1))


def test_motion_blur_spreads_a_point_along_its_angle() -> None:
    points = point(21, 10).expand(4, -1, -1, -1)
    spread = motion_blur(points, radius=2, sigma=1, degrees=[0, 90, -90, 45]).numpy()
    weights = np.exp(-0.5 * np.arange(5) ** 2)
    weights /= weights.sum()

    # A pixel takes from those ahead, so that a point leaves its trace behind.
    np.testing.assert_allclose(spread[0, 0, 10, 10:5:-1], weights, atol=1e-6)
    np.testing.assert_allclose(spread[1, 0, 10:5:-1, 10], weights, atol=1e-6)
    np.testing.assert_allclose(spread[2, 0, 10:15, 10], weights, atol=1e-6)
    assert np.argwhere(spread[3, 0]).tolist() == [[7, 7], [8, 8], [9, 9], [10, 10]]


def test_zoom_centre_puts_corner_on_corner() -> None:
    planes = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)

    # A crop of 8 pixels from 4 on, read at 16 places from 4 to 11.
    np.testing.assert_allclose(zoom_centre(planes, 2)[0, 0, 3], np.linspace(4, 11, 16), rtol=1e-6)


def test_glass_follows_chains_as_the_loop_does() -> None:
    random = ItemRandom(item_keys([0], "glass_blur", 1))
    images = torch.arange(3 * 20 * 20).view(1, 3, 20, 20).remainder(251).to(torch.uint8)
    bits = ItemRandom(item_keys([0], "glass_blur", 1)).bits(400)[0].numpy().astype(np.int64)
    down, right = ((half * 6 >> 16) - 3 for half in (bits & 0xFFFF, bits >> 16 & 0xFFFF))

    expected = images[0].numpy().copy()
    for h in range(17, 3, -1):
        for w in range(17, 3, -1):
            at = h * 20 + w
            expected[:, h, w] = expected[:, h + down[at], w + right[at]]
    # A deviation of 0.05 pixels blurs nothing.
    assert np.array_equal(glass(images, random, sigma=0.05, reach=3, rounds=1)[0].numpy(), expected)
    assert (expected[:, 1:-2, 1:-2] != images[0, :, 1:-2, 1:-2].numpy()).mean() > 0.5
