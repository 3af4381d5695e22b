"""What ``precision=int8`` gains and costs: forward passes over our own in float32, cosines, and accuracies of heads."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.agreement import cosines
from benchmarks.extraction import forward_on_cores
from benchmarks.harness import Row, alternate, ratio_row
from benchmarks.images import small_folder
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.devices import n_cores
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.features.streaming import images_per_task
from resnet_mlflow.heads import build_head

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
NETWORKS = ("resnet18", "resnet50")
# Variances of 1, as BatchNorm says: those of "random:library" grow with depth.
WEIGHTS = "random"


def int8(folder: Path, quick: bool) -> list[Row]:
    """Return speed, cosines and accuracies of int8 over float32."""
    sizes = ((64, 256),) if quick else ((64, 2048), (224, 192))
    speeds = [_speed(name, *size, quick) for name in NETWORKS for size in sizes]
    images, what = small_folder(folder / "small", 600 if quick else 6000)
    return speeds + [row for name in NETWORKS for row in _costs(name, images, what, folder)]


def _speed(name: str, image_size: int, n_images: int, quick: bool) -> Row:
    network = build_backbone(name, resolve_weights(name, WEIGHTS, 0)).eval()
    pixels = torch.randn(n_images, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(memory_format=torch.channels_last)
    ours, peer = (
        partial(forward_on_cores, inference_form(network, precision), pixels, images_per_task(image_size))
        for precision in ("int8", "fp32")
    )
    return ratio_row(
        f"forward pass, {name}, {n_images} images of {image_size} px in memory, int8, over ours in fp32",
        1.5,
        *alternate(ours, peer, 3 if quick else 5),
        n_items=n_images,
        names=(f"int8, one pass per core ({n_cores()})", "fp32"),
    )


def _costs(name: str, images: Path, what: str, folder: Path) -> list[Row]:
    X, y = _features(name, images, folder, "fp32")
    rounded, _ = _features(name, images, folder, "int8")
    found = cosines(X, rounded)
    of_what = f"{name}, {len(X)} files of 32 px ({what}) at 64 px, random weights"
    cosine = Row(
        f"median cosine of features in int8 with those in fp32, {of_what}",
        float(np.median(found)),
        0.995,
        unit="",
        ours=f"smallest {found.min():.4f}",
    )
    return [cosine, *(_accuracy_row(head, rounded, X, y, of_what) for head in ("linear", "knn", "svm"))]


def _accuracy_row(head: str, rounded: Features, X: Features, y: Labels, of_what: str) -> Row:
    in_int8, in_fp32 = _accuracy(head, rounded, y), _accuracy(head, X, y)
    return Row(
        f"accuracy of {head} on features in int8 less that in fp32, half of {of_what}",
        in_int8 - in_fp32,
        -0.01,
        unit="",
        ours=f"{in_int8:.4f}",
        peer=f"{in_fp32:.4f} in fp32",
    )


def _features(name: str, images: Path, folder: Path, precision: Literal["fp32", "int8"]) -> tuple[Features, Labels]:
    dataset = load_dataset(f"folder:{images}", data_dir=folder / "data")
    config = FeatureConfig(weights=WEIGHTS, device="cpu", image_size=64, backbone=name, precision=precision)
    resolved = resolve_weights(name, WEIGHTS, 0)
    parts = extract_features(dataset, config, FeatureStore(folder), resolved, show_progress=False).splits.values()
    X = np.concatenate([np.asarray(split.features) for split in parts])
    y = np.concatenate([split.labels for split in parts])
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order]


def _accuracy(head: str, X: Features, y: Labels) -> float:
    """Return the accuracy on one half of the images, fitted on the other."""
    n_train = len(X) // 2
    fitted = build_head(head, {}, 0).fit(X[:n_train], y[:n_train])
    return float(np.mean(fitted.predict(X[n_train:]) == y[n_train:]))
