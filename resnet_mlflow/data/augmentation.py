"""Augmentation of training batches; each image's change depends only on its own seed."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.process import without_compiler

# Maps uint8 images (n_images, 3, size, size) and one seed per image to images of the same kind.
Augmentation = Callable[[Tensor, NDArray[np.int64]], Tensor]

AUGMENTATIONS = ("none", "flip", "crop", "trivial", "rand", "auto", "augmix")


def item_seeds(seed: int, epoch: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one seed per row of the split, independent of batches and order.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass over the data.
        rows: Rows in the split, shape ``(n_images,)``.

    Example:
        >>> first, second = item_seeds(0, 1, np.array([7])), item_seeds(0, 1, np.array([3, 7]))
        >>> bool(first[0] == second[1])
        True
    """
    start = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    # The finaliser of SplitMix64 turns neighbouring rows into unrelated numbers.
    state = start + np.asarray(rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    # Without the highest bit, so that no seed is negative.
    return np.asarray(state >> np.uint64(1), dtype=np.int64)


def build_augmentation(name: str, image_size: int) -> Augmentation:
    """Return a function that augments images, given one seed each.

    ``flip`` mirrors every second image; ``crop`` also shifts by up to an eighth of the side with reflected borders;
    ``trivial``, ``rand``, ``auto`` and ``augmix`` flip and then apply one of torchvision's policies. These four draw
    from torch's global generator and restore its state afterwards, so call them from one thread.

    AugMix mixes three chains of operations with the image. Like its authors' version, it omits operations that resemble
    a corruption of the robustness benchmark (brightness, colour, contrast, sharpness). The second part of the method,
    the Jensen-Shannon loss between three views, is not implemented.

    Args:
        name: One of ``AUGMENTATIONS``.
        image_size: Side of the images in pixels.

    Raises:
        InputError: If the name is unknown.

    References:
        Müller and Hutter (2021), TrivialAugment; Cubuk et al. (2020), RandAugment; Cubuk et al. (2019), AutoAugment;
        Hendrycks et al. (2020), AugMix.
    """
    if name not in AUGMENTATIONS:
        raise InputError(
            f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {name!r}{nearest(name, AUGMENTATIONS)}"
        )
    if name == "none":
        return lambda images, seeds: images
    if name == "flip":
        return lambda images, seeds: _shift_and_flip(images, seeds, reach=0)
    if name == "crop":
        return lambda images, seeds: _shift_and_flip(images, seeds, reach=image_size // 8)
    policy = _policy(name)
    return lambda images, seeds: _apply_each(policy, _shift_and_flip(images, seeds, reach=0), seeds)


def _shift_and_flip(images: Tensor, seeds: NDArray[np.int64], reach: int) -> Tensor:
    """Return images shifted by at most ``reach`` pixels with reflected borders, half of them mirrored."""
    height, width = images.shape[2:]
    # Three independent numbers from disjoint bits of each seed.
    flip = torch.from_numpy(seeds & 1).bool()
    down = torch.from_numpy((seeds >> 1) % (1 << 20) % (2 * reach + 1) - reach)
    right = torch.from_numpy((seeds >> 21) % (1 << 20) % (2 * reach + 1) - reach)
    ys = _reflect(torch.arange(height) + down[:, None], height)
    xs = _reflect(torch.arange(width) + right[:, None], width)
    xs = torch.where(flip[:, None], xs.flip(1), xs)
    items = torch.arange(len(images))[:, None, None]
    pixels = images.permute(0, 2, 3, 1)[items, ys[:, :, None], xs[:, None, :]]
    return pixels.permute(0, 3, 1, 2)


def _reflect(index: Tensor, n: int) -> Tensor:
    """Return positions with those beyond the ends reflected: -1 becomes 1, n becomes n - 2."""
    return (n - 1) - ((n - 1) - index.abs()).abs()


def _policy(name: str) -> Callable[[Tensor], Tensor]:
    with without_compiler():
        from torchvision.transforms import v2

    policies: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "trivial": v2.TrivialAugmentWide,
        "rand": v2.RandAugment,
        "auto": v2.AutoAugment,
        "augmix": partial(v2.AugMix, all_ops=False),
    }
    return policies[name]()


def _apply_each(policy: Callable[[Tensor], Tensor], images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        changed = []
        for image, seed in zip(images, seeds.tolist(), strict=True):
            # Not torch.manual_seed: that would also seed the accelerators, and takes far longer than a flip.
            torch.default_generator.manual_seed(seed)
            changed.append(policy(image))
        return torch.stack(changed).contiguous(memory_format=torch.channels_last)
