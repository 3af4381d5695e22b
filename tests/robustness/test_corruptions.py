from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pictures import pictures, to_batch

from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruptions import corrupt
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.robustness.severities import severities_of

IDS = [f"item {i}" for i in range(64)]
# What changes with severity in one direction only; not elastic_transform, snow and saturate.
MONOTONE = ("gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "contrast", "brightness", "pixelate")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return to_batch(pictures(64, 32))


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupt_gives_the_same_pixels_in_any_batch_and_order(images: torch.Tensor, corruption: str) -> None:
    together = corrupt(images, corruption, 3, IDS)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))

    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    for rows in [[0], [63], range(5, 12), order.tolist()]:
        rows = list(rows)
        assert torch.equal(corrupt(images[rows], corruption, 3, [IDS[row] for row in rows]), together[rows])


@pytest.mark.parametrize("corruption", BENCHMARK)
def test_corrupt_gives_the_same_pixels_by_any_number_of_threads(images: torch.Tensor, corruption: str) -> None:
    before = torch.get_num_threads()
    results = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        results.append(corrupt(images, corruption, 5, IDS))
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(before)

    def one(row: int) -> torch.Tensor:
        return corrupt(images[row : row + 1], corruption, 5, IDS[row : row + 1])

    with ThreadPoolExecutor(2) as workers:
        results.append(torch.cat(list(workers.map(one, range(8)))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0][:8], results[2])


@pytest.mark.parametrize("corruption", ["glass_blur", "motion_blur", "gaussian_noise", "frost", "elastic_transform"])
def test_corrupt_gives_the_same_pixels_of_photographs_in_any_batch(corruption: str) -> None:
    images = to_batch(pictures(3, 224))
    together = corrupt(images, corruption, 2, [1, 2, 3])

    assert torch.equal(corrupt(images[[2, 0]], corruption, 2, [3, 1]), together[[2, 0]])


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupt_leaves_the_given_images_alone_in_any_layout(images: torch.Tensor, corruption: str) -> None:
    given = images[:2].contiguous(memory_format=torch.channels_last)
    before = given.clone()

    planes = corrupt(given.contiguous(), corruption, 5, IDS[:2])
    assert torch.equal(corrupt(given, corruption, 5, IDS[:2]), planes)
    assert torch.equal(given, before)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupt_takes_images_of_any_shape(corruption: str) -> None:
    for height, width in ((16, 16), (17, 50), (40, 25)):
        images = to_batch(pictures(2, height, width))
        for severity in severities_of(corruption):
            corrupted = corrupt(images, corruption, severity, [0, 1])
            assert corrupted.shape == images.shape
            assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("corruption", MONOTONE)
def test_corrupt_changes_more_at_a_higher_severity(images: torch.Tensor, corruption: str) -> None:
    changes = [
        (corrupt(images, corruption, severity, IDS).double() - images).abs().mean().item() for severity in range(1, 6)
    ]

    assert changes == sorted(changes)


def test_corrupt_takes_ids_as_arrays_and_as_numbers(images: torch.Tensor) -> None:
    listed = corrupt(images[:2], "fog", 1, ["3", "4"])

    assert torch.equal(corrupt(images[:2], "fog", 1, np.array(["3", "4"])), listed)
    assert torch.equal(corrupt(images[:2], "fog", 1, np.array([3, 4])), listed)
    assert not torch.equal(corrupt(images[:2], "fog", 1, [4, 3]), listed)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupt_takes_images_of_one_colour(corruption: str) -> None:
    for level in (0, 255):
        images = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
        assert corrupt(images, corruption, 1, [0]).shape == images.shape


def test_corrupt_gives_none_for_none(images: torch.Tensor) -> None:
    assert corrupt(images[:0], "fog", 1, []).shape == (0, 3, 32, 32)


def test_corrupt_refuses_small_images(images: torch.Tensor) -> None:
    with pytest.raises(InputError, match="at least 16 pixels on the shorter side, got 12"):
        corrupt(images[:, :, :12], "fog", 1, IDS)


@pytest.mark.parametrize(("change", "n_ids"), [(torch.Tensor.float, 64), (lambda x: x[:, :1], 64), (torch.clone, 63)])
def test_corrupt_refuses_another_form(images: torch.Tensor, change: object, n_ids: int) -> None:
    with pytest.raises(ValueError, match="images must be uint8 of shape"):
        corrupt(change(images), "fog", 1, IDS[:n_ids])  # type: ignore[operator]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_corrupt_gives_nearly_the_same_pixels_on_a_gpu(images: torch.Tensor) -> None:
    for corruption in CORRUPTIONS:
        on_gpu = corrupt(images.cuda(), corruption, 3, IDS).cpu()
        apart = (on_gpu.int() - corrupt(images, corruption, 3, IDS)).abs()
        assert (apart > 1).double().mean() < 0.002, corruption
