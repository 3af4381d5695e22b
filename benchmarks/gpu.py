"""Extraction on a GPU, relative to its forward passes alone and to the tuned peer; no rows without a GPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.extraction import OURS, WORKERS, turns_of
from benchmarks.harness import Row, alternate, fastest, ratio_row
from benchmarks.images import make_photos
from benchmarks.peers import plain, tuned
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.devices import pick_precision

BATCH_SIZE = 128


def gpu(folder: Path, quick: bool) -> list[Row]:
    """Return images/s from photos to features on the GPU, relative to forward passes alone and to the tuned peer."""
    if not torch.cuda.is_available():
        return []
    name = torch.cuda.get_device_name()
    backbones = ("resnet18",) if quick else ("resnet18", "resnet50", "resnet101")
    images = make_photos(folder / "photos", 512 if quick else 4096)
    return [row for backbone in backbones for row in rows_on("cuda", name, images, backbone, 3 if quick else 5)]


def rows_on(device: str, device_name: str, images: Path, backbone: str, turns: int) -> list[Row]:
    """Return the rows of one backbone on one device.

    Args:
        device: ``cuda`` or ``cpu``.
        device_name: Name of the device in the rows.
        images: A folder of photos.
        backbone: A ResNet.
        turns: How often each is timed.
    """
    n_images = sum(1 for _ in images.rglob("*.jpg"))
    network = build_backbone(backbone, resolve_weights(backbone, "random", 0)).eval()
    form = inference_form(network, pick_precision("auto", device), device)
    pixels = torch.randn(BATCH_SIZE, 3, 224, 224, device=device).to(form.dtype, memory_format=torch.channels_last)
    ours = turns_of(images, 224, backbone, device)
    peer = plain.backbone(backbone, network.state_dict()).to(device)
    ways = [partial(tuned.extract, peer, images, 224, n_workers, device) for n_workers in WORKERS]
    best = fastest(ways)
    others: dict[str, tuple[float, str, Callable[[], object]]] = {
        "forward passes alone": (0.9, f"batches of {BATCH_SIZE}", partial(_forward, form, pixels, n_images)),
        "the tuned peer": (1.0, f"DataLoader with {WORKERS[best]} workers, channels_last, bf16 autocast", ways[best]),
    }
    return [
        ratio_row(
            f"{device_name}: extraction, {backbone}, {n_images} JPEG photos at 224 px, over {name}",
            target,
            *alternate(ours, work, turns),
            n_items=n_images,
            names=(OURS, text),
        )
        for name, (target, text, work) in others.items()
    ]


@torch.inference_mode()
def _forward(form: nn.Module, pixels: Tensor, n_images: int) -> None:
    for start in range(0, n_images, len(pixels)):
        features: Tensor = form(pixels[: n_images - start])
    features.cpu()  # waits for all pending work
