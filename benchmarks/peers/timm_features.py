"""Feature extraction as in timm's documentation: its model without a classifier, and its own transform."""

from pathlib import Path

import timm
import timm.data
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder


def network(name: str) -> nn.Module:
    """Return timm's network without a classifier, randomly initialised: weights do not change its speed."""
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


def extract(model: nn.Module, folder: Path, image_size: int, num_workers: int) -> Tensor:
    """Return the features of all images in a folder with classes."""
    config = timm.data.resolve_data_config({"input_size": (3, image_size, image_size)}, model=model)
    dataset = ImageFolder(str(folder), timm.data.create_transform(**config))
    with torch.inference_mode():
        batches = DataLoader(dataset, batch_size=128, num_workers=num_workers)
        return torch.cat([model(images) for images, _ in batches])
