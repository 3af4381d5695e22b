import numpy as np
import pytest
from PIL import Image

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.data.datasets import ImageSplit, split_of_arrays
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.data.loading import iterate_batches
from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.sweep import choose_images, compute_features, readable_rows, shorter_sides

CELLS = [
    CorruptedSet("gaussian_noise", 3),
    CorruptedSet("fog", 5),
    CorruptedSet("elastic_transform", 2),
    CorruptedSet("glass_blur", 4),
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A split of 40 PNG files of three sizes."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("mixed")
    paths = []
    for i in range(40):
        height, width = ((32, 32), (40, 33), (150, 200))[i % 3]
        paths.append(folder / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return ImageSplit(np.arange(40) % 4, np.array([f"{i:032x}" for i in range(40)]), paths=tuple(paths))


def pixels_of(images, cell, batch_size, num_workers, rows=None):
    batches = iterate_batches(
        images.split, images.image_size, batch_size, num_workers, rows=rows, change=images.corrupting(cell)
    )
    return np.concatenate([batch.images.numpy() for batch in batches])


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_corrupted_pixels_do_not_depend_on_batches_threads_or_order(mixed, cell):
    images = choose_images(mixed, 48, 0)
    whole = pixels_of(images, cell, 64, 2)
    assert np.array_equal(whole, pixels_of(images, cell, 1, 0))
    order = np.random.default_rng(1).permutation(40)
    assert np.array_equal(whole[order], pixels_of(images, cell, 7, 2, rows=order))
    assert not np.array_equal(whole, pixels_of(images, CLEAN, 64, 2))


def test_constants_follow_the_size_at_which_an_image_is_corrupted(mixed):
    images = choose_images(mixed, 64, 0)
    assert images.resolutions == (32, 224)
    assert images.constants(CorruptedSet("contrast", 1)) == {"32": (0.75,), "224": (0.4,)}
    assert images.constants(CLEAN) == {}
    assert choose_images(mixed, 64, 100).resolutions == (64,)


def test_images_are_corrupted_before_they_are_resized():
    # Contrast 0.15 at 32 px, whose table is chosen by the image's own size, not by the network's 64.
    grey = np.zeros((1, 32, 32, 3), np.uint8)
    grey[:, :, 16:] = 200
    split = split_of_arrays(grey, [0])
    changed = pixels_of(choose_images(split, 64, 0), CorruptedSet("contrast", 5), 1, 0)
    # 100 +- 0.15 * 100, truncated as the published images are.
    assert sorted({int(changed.min()), int(changed.max())}) == [85, 115]


def test_digits_are_enlarged_before_they_are_corrupted():
    images = choose_images(load_digits().splits["test"], 32, 0)
    assert (images.corruption_size, images.resolutions) == (32, (32,))


def test_choose_images_refuses_files_that_are_too_small(tmp_path):
    for side in (15, 40):
        Image.fromarray(np.zeros((side, 60, 3), np.uint8)).save(tmp_path / f"{side}.png")
    paths = (tmp_path / "40.png", tmp_path / "15.png")
    split = ImageSplit(np.array([0, 1]), np.array(["a", "b"]), paths=paths)
    assert shorter_sides(split).tolist() == [40, 15]
    with pytest.raises(InputError, match=r"at least 16 pixels .* got 15 in .*15\.png \(1 of 2 .* corruption_size=32"):
        choose_images(split, 32, 0)
    assert choose_images(split, 32, 32).resolutions == (32,)


def test_compute_features_of_clean_images_are_those_of_the_pipeline(mixed):
    form = inference_form(build_backbone("resnet18", resolve_weights("resnet18", "random", 0)), "fp32")
    images = choose_images(mixed, 32, 0)
    clean = compute_features(form, images, CLEAN, 512, batch_size=16, num_workers=0)
    again = compute_features(form, images, CLEAN, 512, batch_size=16, num_workers=2)
    noisy = compute_features(form, images, CorruptedSet("gaussian_noise", 5), 512, batch_size=16, num_workers=2)
    assert clean.shape == (40, 512)
    assert np.array_equal(clean, again)
    assert np.abs(clean - noisy).max() > 0.01


def test_readable_rows_leaves_damaged_files_out(mixed, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(mixed.paths[0].read_bytes()[:200])
    split = ImageSplit(np.array([0, 1]), np.array(["a", "b"]), paths=(damaged, mixed.paths[1]))
    assert readable_rows(split, 0).tolist() == [1]
