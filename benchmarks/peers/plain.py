"""Feature extraction and fine-tuning of ``fc`` in a plain torchvision script."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import ImageFolder


def loader(folder: Path, image_size: int, num_workers: int, *, shuffle: bool = False) -> DataLoader[tuple[Tensor, int]]:
    """Return batches of images, read by PIL, as normalised floats; photos are resized to 8/7 and cropped."""
    small = image_size < 128
    steps = [
        transforms.Resize(image_size if small else round(image_size * 8 / 7)),
        transforms.CenterCrop(image_size),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    dataset = ImageFolder(str(folder), transforms.Compose(steps))
    return DataLoader(dataset, batch_size=128, num_workers=num_workers, shuffle=shuffle)


def backbone(name: str, state: dict[str, Tensor]) -> nn.Module:
    """Return the torchvision network without ``fc``, in float32."""
    network = models.get_model(name, weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(state)
    return network.eval()


def extract(network: nn.Module, folder: Path, image_size: int, num_workers: int) -> Tensor:
    """Return the features of all images in a folder with classes."""
    with torch.no_grad():
        return torch.cat([network(images) for images, _ in loader(folder, image_size, num_workers)])


def finetune_fc(
    network: nn.Module, n_features: int, n_classes: int, folder: Path, image_size: int, epochs: int
) -> Iterator[float]:
    """Yield the loss of each epoch of training a linear layer; every epoch runs the whole network."""
    layer = nn.Linear(n_features, n_classes)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    batches = loader(folder, image_size, 0, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            with torch.no_grad():
                features = network(images)
            loss = nn.functional.cross_entropy(layer(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        yield total / len(batches.dataset)  # type: ignore[arg-type]
