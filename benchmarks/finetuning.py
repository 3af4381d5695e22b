"""Fine-tuning of ``fc`` on extracted features, ``layer4`` on maps, and all layers, relative to plain loops."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.extraction import WEIGHTS
from benchmarks.harness import Row, alternate, fastest, ratio_row
from benchmarks.images import small_folder
from benchmarks.peers import plain, tuned
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FinetuneConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.devices import open_fabric, pick_precision
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.identity import partition
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.training.finetuning import (
    FinetuneNetwork,
    build_linear,
    finetune_on_features,
    finetune_on_images,
)

EPOCHS = 10
N_CLASSES = 10
N_FEATURES = 512
IMAGE_SIZE = 64
# Ours needs a test split, the peer does not, so it is tiny.
N_TEST_PER_CLASS = 2


def fc(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of ten epochs of ``fc``, including extraction, relative to the peer."""
    n_images = 300 if quick else 5000
    root, what = _train_and_test(folder, n_images)
    network = plain.backbone("resnet18", build_backbone("resnet18", WEIGHTS).state_dict())

    def ours() -> None:
        _train(root, Path(tempfile.mkdtemp(prefix="store-", dir=folder)))

    def peer() -> None:
        list(plain.finetune_fc(network, N_FEATURES, N_CLASSES, root / "train", IMAGE_SIZE, EPOCHS))

    ours()
    taken = alternate(ours, peer, 3, warm_up=False)
    return [
        ratio_row(
            f"fc fine-tuning, resnet18, {EPOCHS} epochs, {n_images} JPEG files of 32 px ({what}) at {IMAGE_SIZE} px, "
            "extraction included, over the peer's",
            20,
            *taken,
            names=("reading, extraction and training, a fifth validates", "whole network every epoch, no validation"),
        )
    ]


def all_layers(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of an epoch of all layers relative to the peer with channels_last (and bf16 if native)."""
    return [_over_plain_loop(folder, 100 if quick else 4000, "all", 1, 0.95, 3 if quick else 5)]


def layer4(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of ten epochs of ``layer4``, not augmented, relative to that peer with other stages frozen."""
    return [_over_plain_loop(folder, 100 if quick else 2000, "layer4", 3 if quick else EPOCHS, 3, 3)]


FROZEN = {"all": (), "layer4": ("conv1", "bn1", "layer1", "layer2", "layer3")}


def _over_plain_loop(folder: Path, n_images: int, train_layers: str, epochs: int, target: float, n_turns: int) -> Row:
    root, what = _train_and_test(folder, n_images)
    # Workers start slowly, which would dominate a short turn.
    numbers = (0, 2) if n_images * epochs >= 4000 else (0,)
    ways = [
        partial(_train_plainly, root / "train", n_workers, train_layers, epochs if len(numbers) == 1 else 1)
        for n_workers in numbers
    ]
    n_workers = numbers[fastest(ways)]
    peer = partial(_train_plainly, root / "train", n_workers, train_layers, epochs)

    def ours() -> None:
        _train_images(root, Path(tempfile.mkdtemp(prefix="store-", dir=folder)), train_layers, epochs)

    ours()
    taken = alternate(ours, peer, n_turns, warm_up=False)
    autocast = ", bf16 autocast" if pick_precision("auto", "cpu") == "bf16" else ""
    return ratio_row(
        f"fine-tuning of {train_layers.replace('all', 'all layers')}, resnet18, {epochs} epoch{'s' * (epochs > 1)} of "
        f"{n_images} JPEG files of 32 px ({what}) at {IMAGE_SIZE} px, over the peer's",
        target,
        *taken,
        n_items=n_images * epochs,
        names=("reading, hashing and training", f"channels_last{autocast}, {n_workers} workers"),
    )


def _train_plainly(images: Path, n_workers: int, train_layers: str, epochs: int) -> None:
    list(tuned.finetune("resnet18", N_CLASSES, images, IMAGE_SIZE, epochs, n_workers, FROZEN[train_layers]))


def _train_images(root: Path, store: Path, train_layers: str, epochs: int) -> None:
    config = FinetuneConfig(
        dataset=f"folder:{root}",
        weights="random",
        image_size=IMAGE_SIZE,
        device="cpu",
        epochs=epochs,
        train_layers=train_layers,
        schedule="constant",
    )
    dataset = load_dataset(config.dataset, data_dir=store / "data")
    layer = build_linear(N_FEATURES, N_CLASSES, config.seed)
    network = FinetuneNetwork(build_backbone("resnet18", WEIGHTS), layer, train_layers)
    # Validation uses the few test images, because the peer does not validate.
    trained = finetune_on_images(
        network,
        dataset.splits["train"],
        dataset.splits["test"],
        config,
        image_size=IMAGE_SIZE,
        fabric=open_fabric("cpu", pick_precision("auto", "cpu")),
    )
    list(trained)


def _train(root: Path, store: Path) -> None:
    config = FinetuneConfig(
        dataset=f"folder:{root}", weights="random", image_size=IMAGE_SIZE, device="cpu", epochs=EPOCHS
    )
    dataset = load_dataset(config.dataset, data_dir=store / "data")
    found = extract_features(dataset, config, FeatureStore(store), WEIGHTS, show_progress=False)
    splits = partition(found, config.val_fraction, config.seed)
    layer = build_linear(N_FEATURES, N_CLASSES, config.seed)
    list(finetune_on_features(layer, splits["train"], splits["val"], config))


def _train_and_test(folder: Path, n_images: int) -> tuple[Path, str]:
    images, what = small_folder(folder / "all", n_images + N_CLASSES * N_TEST_PER_CLASS)
    root = folder / "cifar-like"
    for of_class in sorted(images.iterdir()):
        held_out = root / "test" / of_class.name
        held_out.mkdir(parents=True)
        for file in sorted(of_class.glob("*.jpg"))[-N_TEST_PER_CLASS:]:
            shutil.move(file, held_out / file.name)
    shutil.move(images, root / "train")
    return root, what
