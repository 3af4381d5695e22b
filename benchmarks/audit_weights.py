"""A small ResNet-18 trained on CIFAR-10, for benchmarks that need meaningful labels but no downloaded weights.

``python -m benchmarks.audit_weights FOLDER FILE`` takes some minutes on two cores. It trains on the first 2400
images of each class of ``FOLDER/train``, so that the others are new to it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional

N_SEEN = 2400
_EPOCHS, _BATCH, _LEARNING_RATE = 6, 128, 3e-3
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def train(folder: Path, file: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = _read(folder)
    network = torchvision.models.resnet18(num_classes=10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    n_steps = len(images) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=_EPOCHS * n_steps, pct_start=0.25
    )
    for epoch in range(_EPOCHS):
        losses = []
        for rows in np.array_split(rng.permutation(len(images))[: n_steps * _BATCH], n_steps):
            loss = functional.cross_entropy(network(_batch(images[rows], rng)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(losses):.3f}", flush=True)
        torch.save(network.state_dict(), file)


def _batch(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return normalised images, shifted by up to three pixels, half of them mirrored."""
    padded = functional.pad(images.float() / 255, (3, 3, 3, 3), mode="reflect")
    top, left = rng.integers(0, 7, 2)
    cut = padded[:, :, top : top + 32, left : left + 32]
    mirrored = torch.from_numpy(rng.random(len(images)) < 0.5).view(-1, 1, 1, 1)
    return ((torch.where(mirrored, cut.flip(3), cut) - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)


def _read(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
    paths = [path for name in classes for path in sorted(name.glob("*.jpg"))[:N_SEEN]]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = [classes.index(path.parent) for path in paths]
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
