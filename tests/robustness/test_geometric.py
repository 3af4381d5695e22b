import numpy as np
import pytest
import torch
from pictures import pictures, to_batch
from torchvision.transforms.functional import InterpolationMode, rotate

from resnet_mlflow.robustness.corruption import TIERS
from resnet_mlflow.robustness.corruptions import corrupt

TIER_SEVERITIES = tuple(TIERS.values())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return to_batch(pictures(16, 40))


@pytest.mark.parametrize(("severity", "degrees"), [(1, 5), (3, 15), (5, 30)])
def test_rotation_turns_by_its_degrees_to_either_side(images: torch.Tensor, severity: int, degrees: int) -> None:
    turned = corrupt(images, "rotation", severity, range(16)).float()
    both = torch.stack([rotate(images.float(), angle, InterpolationMode.BILINEAR) for angle in (-degrees, degrees)])
    # Within the largest circle nothing comes from beyond the border.
    y, x = np.mgrid[:40, :40] - 19.5
    inside = torch.from_numpy(np.hypot(y, x) < 19)
    apart = (turned - both).abs()[..., inside].amax((2, 3))

    assert (apart.amin(0) <= 1.01).all()
    assert set(apart.argmin(0).tolist()) == {0, 1}


@pytest.mark.parametrize(("severity", "pixels"), [(1, 2), (3, 4), (5, 8)])
def test_translation_shifts_by_its_share_of_both_sides(images: torch.Tensor, severity: int, pixels: int) -> None:
    shifted = corrupt(images, "translation", severity, range(16))
    inner = slice(pixels, 40 - pixels)
    directions = set()
    for before, after in zip(images, shifted, strict=True):
        found = [
            (down, right)
            for down in (-pixels, pixels)
            for right in (-pixels, pixels)
            if torch.equal(before.roll((down, right), (1, 2))[:, inner, inner], after[:, inner, inner])
        ]
        assert len(found) == 1
        directions.update(found)
    assert len(directions) == 4


def test_scale_shrinks_about_the_centre() -> None:
    image = torch.zeros(1, 3, 41, 41, dtype=torch.uint8)
    image[:, :, 10:31, 10:31] = 255
    sides = [(corrupt(image, "scale", severity, [0])[0, 0, 20] > 127).sum().item() for severity in TIER_SEVERITIES]

    assert sides == pytest.approx([0.9 * 21, 0.75 * 21, 0.6 * 21], abs=1)


def test_horizontal_flip_exchanges_left_and_right(images: torch.Tensor) -> None:
    assert torch.equal(corrupt(images, "horizontal_flip", 1, range(16)), images.flip(3))


@pytest.mark.parametrize(("severity", "side"), [(1, 4), (3, 10), (5, 16)])
def test_occlusion_hides_a_square_inside(images: torch.Tensor, severity: int, side: int) -> None:
    hidden = corrupt(images, "occlusion", severity, range(16))
    grey = (hidden == torch.tensor((124, 116, 104)).view(3, 1, 1)).all(1)

    assert ((hidden != images).any(1) <= grey).all()
    assert (grey.sum((1, 2)) >= side**2).all()
    assert (grey.sum((1, 2)) < side**2 + 10).all()
    # Not all in one place.
    assert len({tuple(of_image.nonzero()[0].tolist()) for of_image in grey}) > 8
