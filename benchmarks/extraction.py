"""Speed from images to features, relative to the plain peer and to forward passes alone."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import Row, alternate, fastest, ratio_row
from benchmarks.images import make_photos, small_folder
from benchmarks.peers import plain
from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.devices import n_cores, pick_precision
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.features.streaming import images_per_task
from resnet_mlflow.process import one_thread

# The same weights as in all earlier measurements.
RANDOM = "random:library"
WEIGHTS = resolve_weights("resnet18", RANDOM, 0)
WORKERS = (0, 2)
OURS = "from the folder to the feature store"


def photos(folder: Path, quick: bool) -> list[Row]:
    """Return images/s at 224 px relative to the peer, and to forward passes alone."""
    n_images = 40 if quick else 384
    images = make_photos(folder / "photos", n_images)
    return [
        over_peer(images, 224, n_images, "JPEG photos of 110 kB", quick),
        *over_forward(images, 224, n_images, quick),
    ]


def small(folder: Path, quick: bool) -> list[Row]:
    """Return images/s for 32 px files at 64 px, relative to the peer."""
    n_images = 400 if quick else 5000
    images, what = small_folder(folder / "small", n_images)
    return [over_peer(images, 64, n_images, f"JPEG files of 32 px ({what})", quick)]


def over_peer(images: Path, image_size: int, n_images: int, what: str, quick: bool) -> Row:
    network = plain.backbone("resnet18", build_backbone("resnet18", WEIGHTS).state_dict())
    # Workers start slowly, which would dominate a short turn.
    numbers = WORKERS[:1] if quick else WORKERS
    ways = [partial(plain.extract, network, images, image_size, n_workers) for n_workers in numbers]
    best = fastest(ways)
    ours = turns_of(images, image_size)
    ours()
    taken = alternate(ours, ways[best], 3 if quick else 5, warm_up=False)
    return ratio_row(
        f"extraction, resnet18, {n_images} {what} at {image_size} px, over the peer's",
        3.0,
        *taken,
        n_items=n_images,
        names=(OURS, f"DataLoader with {WORKERS[best]} workers, eager float32"),
    )


def over_forward(images: Path, image_size: int, n_images: int, quick: bool) -> list[Row]:
    """Return the speed of extraction relative to forward passes of the same network, in batches and one pass per core.

    The plain reference is a usual call of the network: batches of 128 with all threads. One pass per core is faster,
    and what extraction does, but leaves these cores no time for decoding.
    """
    precision = pick_precision("auto", "cpu")
    form = inference_form(build_backbone("resnet18", WEIGHTS), precision)
    pixels = torch.randn(n_images, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(form.dtype, memory_format=torch.channels_last)
    n_per_task = images_per_task(image_size)
    ways: dict[str, Callable[[], object]] = {
        f"in batches of 128 over {torch.get_num_threads()} threads": lambda: _forward_in_batches(form, pixels),
        f"one pass per core, {n_per_task} images at a time": lambda: forward_on_cores(form, pixels, n_per_task),
    }
    rows = []
    for name, forward in list(ways.items())[1 if quick else 0 :]:
        ours, alone = alternate(turns_of(images, image_size), forward, 3 if quick else 5)
        what = f"the same over the forward alone ({precision}, folded), {name}"
        rows.append(ratio_row(what, 0.90, ours, alone, n_items=n_images, names=(OURS, "forward alone")))
    return rows


def stored(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of loading stored features, with reading and comparing the folder, relative to extraction."""
    n_images = 300 if quick else 5000
    images, what = small_folder(folder / "small", n_images)
    extract(images, 64, folder / "warm")
    taken = alternate(lambda: extract(images, 64, folder / "warm"), turns_of(images, 64), 3 if quick else 5)
    return [
        ratio_row(
            f"features that are in the store, resnet18, {n_images} JPEG files of 32 px ({what}) at 64 px, "
            "over extracting them",
            10.0,
            *taken,
            names=("folder to features, stored", "folder to features, not stored"),
        )
    ]


def extract(
    images: Path, image_size: int, store: Path, backbone: str = "resnet18", device: str = "cpu"
) -> tuple[ImageDataset, FeatureSet]:
    """Return the dataset of a folder and its features: read, hashed, and extracted if the store has none."""
    dataset = load_dataset(f"folder:{images}", data_dir=store / "data")
    config = FeatureConfig(weights=RANDOM, device=device, image_size=image_size, backbone=backbone)
    weights = resolve_weights(backbone, RANDOM, 0)
    return dataset, extract_features(dataset, config, FeatureStore(store), weights, show_progress=False)


def turns_of(images: Path, image_size: int, backbone: str = "resnet18", device: str = "cpu") -> Callable[[], object]:
    """Return an extraction that reuses nothing from the previous turn."""

    def turn() -> None:
        extract(images, image_size, Path(tempfile.mkdtemp(prefix="store-", dir=images.parent)), backbone, device)

    return turn


@torch.inference_mode()
def _forward_in_batches(form: nn.Module, pixels: Tensor) -> None:
    for batch in pixels.split(128):
        form(batch)


def forward_on_cores(form: InferenceForm, pixels: Tensor, n_per_task: int) -> None:
    forward = torch.inference_mode()(form.forward)
    with one_thread(), ThreadPoolExecutor(n_cores(), "alone", torch.set_num_threads, (1,)) as pool:
        list(pool.map(forward, pixels.split(n_per_task)))
