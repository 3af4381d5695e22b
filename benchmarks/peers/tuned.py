"""The plain script with the two lines that PyTorch's own guide advises: channels_last and bf16 autocast."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from benchmarks.peers.plain import loader


def extract(network: nn.Module, folder: Path, image_size: int, num_workers: int, device: str = "cpu") -> Tensor:
    """Return the features of every image of a class folder; ``network`` is ``plain.backbone``'s, on the device."""
    network = network.to(memory_format=torch.channels_last)
    features = []
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for images, _ in loader(folder, image_size, num_workers):
            features.append(network(images.to(device, memory_format=torch.channels_last)).float())
    return torch.cat(features).cpu()


def finetune_all(
    name: str, n_classes: int, folder: Path, image_size: int, epochs: int, num_workers: int
) -> Iterator[float]:
    """Yield the loss of each epoch of training every layer of a torchvision network."""
    network = models.get_model(name, weights=None, num_classes=n_classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    batches = loader(folder, image_size, num_workers, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(network(images.to(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        yield total / len(batches.dataset)  # type: ignore[arg-type]
