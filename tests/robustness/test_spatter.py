import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from resnet_mlflow.robustness.spatter import canny, distance_to, equalize


@pytest.fixture(params=[0.7, 2.0])
def drops(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Liquid as spatter makes it: smooth noise, dry below a threshold."""
    noise = gaussian_filter(np.random.default_rng(0).normal(0.65, 0.3, (3, 60, 75)), (0, request.param, request.param))
    return np.uint8(np.clip(np.where(noise < 0.69, 0, noise), 0, 1) * 255)


def edges_of(drops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([cv2.Canny(plane, 50, 150) for plane in drops])


def test_canny_equals_opencv(drops: NDArray[np.uint8]) -> None:
    edges = canny(torch.from_numpy(drops)[:, None].float())[:, 0]

    assert np.array_equal(edges.numpy(), edges_of(drops) > 0)
    assert edges.any()


def test_distance_to_equals_opencv_up_to_20(drops: NDArray[np.uint8]) -> None:
    edges = edges_of(drops)
    edges[:, :, 30:] = 0
    expected = np.stack([cv2.distanceTransform(255 - plane, cv2.DIST_L2, 5) for plane in edges])
    distance = distance_to(torch.from_numpy(edges)[:, None] > 0)[:, 0].numpy()

    np.testing.assert_allclose(np.minimum(distance, 20), np.minimum(expected, 20), atol=1e-3)
    assert distance.max() == 20


def test_equalize_equals_opencv(drops: NDArray[np.uint8]) -> None:
    expected = np.stack([cv2.equalizeHist(plane) for plane in drops])

    assert np.array_equal(equalize(torch.from_numpy(drops)[:, None].float())[:, 0].numpy(), expected)


def test_equalize_leaves_one_level_alone() -> None:
    assert equalize(torch.full((1, 1, 4, 4), 7.0)).unique().tolist() == [7]
