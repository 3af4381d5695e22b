import numpy as np
import pytest
import torch

from resnet_mlflow.data.augmentation import AUGMENTATIONS, build_augmentation, item_seeds
from resnet_mlflow.errors import InputError


def photos(n_images: int, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n_images, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_of_an_image_does_not_depend_on_its_batch(name):
    augment = build_augmentation(name, 16)
    images, seeds = photos(12), item_seeds(3, 1, np.arange(12))
    whole = augment(images, seeds)
    order = [7, 2, 11]
    assert torch.equal(augment(images[order], seeds[order]), whole[order])
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_augmentation_changes_with_the_epoch_and_the_seed(name):
    augment = build_augmentation(name, 16)
    images, rows = photos(12), np.arange(12)
    first, epoch, seed = (augment(images, item_seeds(*numbers, rows)) for numbers in ((0, 0), (0, 1), (1, 0)))
    assert not torch.equal(first, epoch)
    assert not torch.equal(first, seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_leaves_its_input_and_the_global_generator_alone(name):
    images = photos(3)
    state, before = torch.get_rng_state(), images.clone()
    build_augmentation(name, 16)(images, item_seeds(0, 0, np.arange(3)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)


def test_flip_mirrors_about_half_of_the_images():
    images = photos(1).expand(1000, -1, -1, -1)
    result = build_augmentation("flip", 16)(images, item_seeds(0, 0, np.arange(1000)))
    mirrored = (result == images.flip(3)).all(dim=(1, 2, 3))
    kept = (result == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 450 < int(mirrored.sum()) < 550


def test_crop_shifts_by_at_most_an_eighth_over_reflected_borders():
    columns = torch.arange(16, dtype=torch.uint8).expand(400, 3, 16, 16)
    result = build_augmentation("crop", 16)(columns, item_seeds(0, 0, np.arange(400)))[:, 0, 0].tolist()
    # A shift by 2 to the left reflects columns 2 and 1 into the gap.
    shifted = {
        (2, 1, *range(14)),
        (1, *range(15)),
        tuple(range(16)),
        (*range(1, 16), 14),
        (*range(2, 16), 14, 13),
    }
    assert {tuple(row) for row in result} == shifted | {row[::-1] for row in shifted}


def test_item_seeds_differ_between_rows_epochs_and_seeds():
    seeds = np.concatenate([item_seeds(seed, epoch, np.arange(1000)) for seed in range(3) for epoch in range(3)])
    assert len(set(seeds.tolist())) == 9000
    assert (seeds >= 0).all()


def test_build_augmentation_refuses_unknown_names():
    with pytest.raises(InputError, match=r"one of none, flip, .* got 'flipp'; did you mean 'flip'"):
        build_augmentation("flipp", 16)


def test_augmix_stays_nearer_to_its_input_than_one_operation_does():
    images, seeds = photos(40, 32), item_seeds(0, 0, np.arange(40))
    flipped = build_augmentation("flip", 32)(images, seeds).float()
    distances = {
        name: (build_augmentation(name, 32)(images, seeds).float() - flipped).abs().mean()
        for name in ("augmix", "trivial")
    }
    assert 1 < distances["augmix"] < distances["trivial"]
