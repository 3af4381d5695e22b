"""Agreement of features with those of the eager float32 network."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.datasets import ImageFolder

from benchmarks.extraction import WEIGHTS, extract
from benchmarks.harness import Row
from benchmarks.images import make_photos, small_folder
from benchmarks.peers import plain
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.devices import pick_precision

Features = NDArray[np.float32]


def cosine(folder: Path, quick: bool) -> list[Row]:
    """Return the smallest cosine between an item's features and the eager network's, at both image sizes."""
    n_photos, n_small = (32, 256) if quick else (256, 4096)
    photos = make_photos(folder / "photos", n_photos)
    small, what = small_folder(folder / "small", n_small)
    at_224, peer_at_224 = _smallest(photos, 224, folder)
    at_64, peer_at_64 = _smallest(small, 64, folder)
    return [
        Row(
            f"smallest cosine of features to eager float32's, resnet18, over {n_photos} photos at 224 px and "
            f"{n_small} files of 32 px ({what}) at 64 px",
            min(at_224, at_64),
            0.9999,
            unit="",
            ours=f"{pick_precision('auto', 'cpu')}, folded: {at_224:.6f} at 224 px, {at_64:.6f} at 64 px",
            peer="eager float32 on the same pixels; the peer's features, with its own decoding and resizing: "
            f"{peer_at_224:.6f} and {peer_at_64:.6f}",
        )
    ]


def _smallest(images: Path, image_size: int, folder: Path) -> tuple[float, float]:
    """Return the smallest cosines with eager passes over the same pixels, and with the peer's features."""
    dataset, extracted = extract(images, image_size, folder / f"store-{image_size}")
    peer = _by_path(images, image_size)
    found = [
        (cosines(ours, _eager(split, image_size)), cosines(ours, np.stack([peer[str(path)] for path in split.paths])))
        for name, split in dataset.splits.items()
        for ours in [np.asarray(extracted.splits[name].features)]
    ]
    same_pixels, whole_peer = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return float(same_pixels.min()), float(whole_peer.min())


@torch.inference_mode()
def _eager(split: ImageSplit, image_size: int) -> Features:
    network = build_backbone("resnet18", WEIGHTS).eval()
    batches = iterate_batches(split, image_size, 128, 0)
    return np.concatenate([network(normalize(batch.images)).numpy() for batch in batches])


def _by_path(images: Path, image_size: int) -> dict[str, Features]:
    network = plain.backbone("resnet18", build_backbone("resnet18", WEIGHTS).state_dict())
    features = plain.extract(network, images, image_size, 0).numpy()
    paths = [str(Path(path).resolve()) for path, _ in ImageFolder(str(images)).samples]
    return dict(zip(paths, features, strict=True))


def cosines(first: Features, second: Features) -> NDArray[np.float64]:
    """Return the cosine of each row of the first with that of the second, ``(n,)``."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / norms)
