"""The plain script tuned as PyTorch's own guide advises: channels_last, and bf16 autocast if it is native."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from benchmarks.peers.plain import loader
from resnet_mlflow.devices import pick_precision


def extract(network: nn.Module, folder: Path, image_size: int, num_workers: int, device: str = "cpu") -> Tensor:
    """Return the features of all images in a folder of classes; ``network`` is ``plain.backbone``'s, on the device."""
    network = network.to(memory_format=torch.channels_last)
    features = []
    with torch.no_grad(), _autocast(device):
        for images, _ in loader(folder, image_size, num_workers):
            features.append(network(images.to(device, memory_format=torch.channels_last)).float())
    return torch.cat(features).cpu()


def _autocast(device: str) -> torch.autocast:
    # Without native instructions, bf16 is several times slower than float32.
    return torch.autocast(device, torch.bfloat16, enabled=pick_precision("auto", device) == "bf16")


def finetune(
    name: str,
    n_classes: int,
    folder: Path,
    image_size: int,
    epochs: int,
    num_workers: int,
    frozen: Sequence[str] = (),
) -> Iterator[float]:
    """Yield the loss of each epoch of training a torchvision network, except its frozen layers."""
    network = models.get_model(name, weights=None, num_classes=n_classes).to(memory_format=torch.channels_last)
    for layer in frozen:
        network.get_submodule(layer).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW([weights for weights in network.parameters() if weights.requires_grad], lr=1e-3)
    batches = loader(folder, image_size, num_workers, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            with _autocast("cpu"):
                loss = nn.functional.cross_entropy(network(images.to(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        yield total / len(batches.dataset)  # type: ignore[arg-type]
