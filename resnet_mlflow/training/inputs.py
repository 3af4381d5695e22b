"""Inputs of the trained part of a network: images, or the frozen part's output, computed only once if it repeats."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_mlflow.config import ImageTrainingConfig
from resnet_mlflow.data.augmentation import build_augmentation, item_seeds
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.features.streaming import extract_split
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.terminal import progress
from resnet_mlflow.training.parts import FrozenPart

logger = logging.getLogger(__name__)

# Maximum per split, in memory. It is fixed, because the last digits depend on what is kept, and must not depend on the
# machine's load.
KEPT_BYTES = 2 << 30

Batches = Iterator[tuple[Tensor, Tensor]]


class Source(Protocol):
    """A split as batches of inputs and labels on the device."""

    def in_order(self) -> Batches:
        """Yield all of it, without augmentation."""

    def of_rows(self, rows: NDArray[np.int64], batch_size: int, epoch: int) -> Batches:
        """Yield the given rows as used in an epoch."""


@dataclass(frozen=True)
class ImageSource:
    """A split's images, normalized, and passed through the frozen part of a network if there is one.

    Attributes:
        split: The images.
        config: Settings of batches, augmentation and threads, and the seed.
        image_size: Side of the images in pixels.
        preprocessing: The preprocessing that the network's weights expect.
        device: Device for the batches.
        frozen: The part that computes the trained part's inputs from images; None if everything is trained.
        skipped: Files left out.
    """

    split: ImageSplit
    config: ImageTrainingConfig
    image_size: int
    preprocessing: Preprocessing
    device: torch.device
    frozen: FrozenPart | None = None
    skipped: set[Path] = field(default_factory=set)

    def in_order(self) -> Batches:
        """Yield all of it, without augmentation."""
        return self._load(np.arange(len(self.split)), self.config.batch_size, "none", 0)

    def of_rows(self, rows: NDArray[np.int64], batch_size: int, epoch: int) -> Batches:
        """Yield the given rows, augmented as in an epoch."""
        return self._load(rows, batch_size, self.config.augmentation, epoch)

    def warn(self, row: int, error: BadImageError) -> None:
        """Warn that an image is left out, once and not in every epoch."""
        if error.path not in self.skipped:
            self.skipped.add(error.path)
            logger.warning("image left out of training: %s", error)

    def _load(self, rows: NDArray[np.int64], batch_size: int, augmentation: str, epoch: int) -> Batches:
        augment = build_augmentation(augmentation, self.image_size)
        stream = iterate_batches(
            self.split,
            self.image_size,
            batch_size,
            self.config.num_workers,
            rows=rows,
            skip_bad=self.config.on_bad_image == "skip",
            on_skip=self.warn,
            preprocessing=self.preprocessing,
        )
        for batch in stream:
            images = augment(batch.images, item_seeds(self.config.seed, epoch, batch.rows))
            # To the device as bytes: a quarter of the size of floats.
            inputs = normalize(images.to(self.device), preprocessing=self.preprocessing)
            if self.frozen is not None:
                with torch.no_grad():  # inference_mode tensors cannot be used in training
                    inputs = self.frozen(inputs)
            yield inputs, torch.from_numpy(self.split.labels[batch.rows]).to(self.device)


@dataclass(frozen=True)
class KeptSource:
    """The frozen part's output for a split, in memory.

    Attributes:
        inputs: Features ``(n_images, n_features)``, or maps ``(n_images, height, width, n_channels)``.
        labels: ``(n_images,)``.
        is_there: Which images could be decoded, ``(n_images,)``.
        batch_size: Batch size of ``in_order``.
        device: Device for the batches.
    """

    inputs: Tensor
    labels: Tensor
    is_there: NDArray[np.bool_]
    batch_size: int
    device: torch.device

    def in_order(self) -> Batches:
        """Yield all of it."""
        return self.of_rows(np.arange(len(self.labels)), self.batch_size, 0)

    def of_rows(self, rows: NDArray[np.int64], batch_size: int, epoch: int) -> Batches:
        """Yield the given rows, which are the same in every epoch."""
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            chosen = torch.from_numpy(batch[self.is_there[batch]])
            if len(chosen):
                inputs = self.inputs[chosen]
                maps = inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs
                yield maps.to(self.device), self.labels[chosen].to(self.device)


def keep(source: ImageSource) -> Source:
    """Compute and return the frozen part's output for a split if it fits into ``KEPT_BYTES``, else the source itself.

    Args:
        source: A source used without augmentation.

    Raises:
        BadImageError: If an image cannot be decoded and ``on_bad_image`` is ``fail``.
    """
    if source.frozen is None or not len(source.split):
        return source
    n_images, form = len(source.split), source.frozen
    shape = _shape_of_one(form, source.image_size, source.device)
    kept = torch.bfloat16 if form.is_bf16 else torch.float32
    if n_images * shape.numel() * kept.itemsize > KEPT_BYTES:
        return source
    inputs = torch.empty((n_images, *shape), dtype=kept)
    is_there = np.zeros(n_images, dtype=bool)
    with progress(n_images, "images", "frozen stages") as bar:
        for rows, found in _passed(source, form):
            block = torch.from_numpy(found)
            inputs[rows] = (block.permute(0, 2, 3, 1) if block.ndim == 4 else block).to(kept)
            is_there[rows] = True
            bar.update(len(rows))
    return KeptSource(inputs, torch.tensor(source.split.labels), is_there, source.config.batch_size, source.device)


def _passed(source: ImageSource, form: FrozenPart) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    return extract_split(
        form,
        source.split,
        source.image_size,
        num_workers=source.config.num_workers,
        on_skip=source.warn if source.config.on_bad_image == "skip" else None,
        preprocessing=source.preprocessing,
    )


def _shape_of_one(form: FrozenPart, image_size: int, device: torch.device) -> torch.Size:
    """Return the output shape for one image, channels last."""
    with torch.inference_mode():
        found: Tensor = form(torch.zeros((1, 3, image_size, image_size), device=device))[0]
    return found.permute(1, 2, 0).shape if found.ndim == 3 else found.shape
