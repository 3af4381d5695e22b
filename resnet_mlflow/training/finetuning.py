"""Fine-tuning: a backbone and a linear head, of which the requested stages are trained.

Training only ``fc`` without augmentation never changes the backbone's output, so the linear layer is trained on stored
features instead, in the same order of items and with the same result. Likewise, the output of frozen stages is computed
only once if later stages are trained without augmentation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.backbones.networks import with_memory
from resnet_mlflow.config import ImageTrainingConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing
from resnet_mlflow.training.inputs import ImageSource, Source, keep
from resnet_mlflow.training.loop import EpochResult, LossFunction, epoch_seed, fit, shuffled_rows, tensor_batches
from resnet_mlflow.training.optimization import cross_entropy
from resnet_mlflow.training.parts import FrozenPart, TrainedPart, first_trained
from resnet_mlflow.training.ranks import Ranks
from resnet_mlflow.training.small_maps import MultipliedSmallMaps

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from resnet_mlflow.features.identity import FeatureSplit

TRAINED_STAGES = {"fc": (), "layer4": ("layer4",), "layer3+": ("layer3", "layer4"), "all": None}
INITIAL_WEIGHTS = 2  # stream of random numbers, besides those of an epoch


class FinetuneNetwork(nn.Module):
    """A backbone and a linear head; frozen parts stay in eval mode, BatchNorm included."""

    def __init__(self, backbone: nn.Module, head: nn.Module, train_layers: str) -> None:
        """Freeze the stages that are not trained.

        Args:
            backbone: Maps images (n_images, 3, size, size) to features; its children have torchvision's names.
            head: Result of ``build_linear``, or another module that maps features to logits.
            train_layers: ``fc``, ``layer4``, ``layer3+`` or ``all``.

        Raises:
            InputError: If the backbone has no stages with these names.
        """
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.head = head
        stages = TRAINED_STAGES[train_layers]
        children = dict(backbone.named_children())
        if missing := set(stages or ()) - set(children):
            kind = type(backbone).__name__
            raise InputError(f"train_layers must be fc or all for a {kind} without {min(missing)}, got {train_layers}")
        self.trained_stages = tuple(children) if stages is None else stages
        for name, stage in children.items():
            stage.requires_grad_(name in self.trained_stages)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Return the network with its trained stages in training mode, the others in eval mode."""
        super().train(mode)
        for name, stage in self.backbone.named_children():
            stage.train(mode and name in self.trained_stages)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, of shape (n_images, n_classes)."""
        with MultipliedSmallMaps():
            logits: Tensor = self.head(self.backbone(images))
        return logits


def build_linear(n_features: int, n_classes: int, seed: int) -> nn.Linear:
    """Return a linear layer with seeded weights from the uniform distribution on ±1/sqrt(n_features)."""
    # Created without values, which would be drawn from the global generator.
    layer = nn.Linear(n_features, n_classes, device="meta")
    with_memory(layer)
    generator = torch.Generator().manual_seed(epoch_seed(seed, 0, INITIAL_WEIGHTS))
    bound = n_features**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def linear_state(layer: nn.Linear) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (n_classes, n_features) and bias (n_classes,), as expected by ``heads.linear.from_linear``."""
    weight, bias = (values.detach().cpu().double().numpy() for values in (layer.weight, layer.bias))
    return weight, bias


def finetune_on_features(
    head: nn.Linear,
    train: "FeatureSplit",
    val: "FeatureSplit",
    config: ImageTrainingConfig,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> Iterator[EpochResult]:
    """Train a linear layer on features and yield one result per epoch; the layer ends with its best weights.

    Args:
        head: Result of ``build_linear``; trained in place.
        train: Features to train on.
        val: Features that select the best epoch.
        config: Configuration with ``trains_on_features``.
        checkpoint: See ``training.loop.fit``.
        fingerprint: See ``training.loop.fit``.
    """
    batches = tensor_batches(*_tensors(train), config.batch_size, config.seed)
    val_features, val_labels = _tensors(val)

    def validate(model: nn.Module) -> dict[str, float]:
        return _Score().add(model(val_features), val_labels).metrics()

    return fit(
        head,
        batches,
        validate,
        config,
        loss_fn=cross_entropy(config.label_smoothing),
        n_batches=-(-len(train.labels) // config.batch_size),
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        seed=config.seed,
    )


def _tensors(split: "FeatureSplit") -> tuple[Tensor, Tensor]:
    # Copies: torch warns about read-only memory maps.
    return torch.tensor(np.asarray(split.features)), torch.tensor(np.asarray(split.labels))


def finetune_on_images(
    network: FinetuneNetwork,
    train: ImageSplit,
    val: ImageSplit,
    config: ImageTrainingConfig,
    *,
    image_size: int,
    preprocessing: Preprocessing = PLAIN,
    fabric: "Fabric",
    checkpoint: Path | None = None,
    fingerprint: str = "",
    remedy: "Remedy | None" = None,
) -> Iterator[EpochResult]:
    """Train a network on images and yield one result per epoch; the network ends with its best weights.

    Args:
        network: The network; trained in place, on the fabric's device.
        train: Images to train on.
        val: Images that select the best epoch.
        config: Settings of training, batches and augmentation, and the seed.
        image_size: Side of the images in pixels.
        preprocessing: The preprocessing that the network's weights expect.
        fabric: Result of ``devices.open_fabric``; its other ranks, if any, call this with the same arguments.
        checkpoint: See ``training.loop.fit``.
        fingerprint: See ``training.loop.fit``.
        remedy: Rows and loss to use instead of every row once and cross-entropy.

    Raises:
        InputError: If ``batch_size`` is 1 and BatchNorm is trained.
    """
    n_rows = _n_rows_per_epoch(len(train), config)
    ranks = Ranks(fabric)
    if ranks.n > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    first, device = first_trained(network), fabric.device
    part = network if first is None else TrainedPart(network, first)
    frozen = None if first is None else FrozenPart(network, first, fabric)
    training, validation = (
        ImageSource(split, config, image_size, preprocessing, device, frozen) for split in (train, val)
    )
    inputs: Source = keep(training) if config.augmentation == "none" else training
    val_inputs = keep(validation)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        rows = shuffled_rows(len(train), config.seed, epoch).numpy() if remedy is None else remedy.rows(epoch)
        return inputs.of_rows(*ranks.share(rows[:n_rows], config.batch_size), epoch)

    def validate(model: nn.Module) -> dict[str, float]:
        score = _Score()
        for batch, labels in val_inputs.in_order():
            score.add(model(batch), labels)
        return score.metrics()

    return fit(
        part,
        batches,
        validate,
        config,
        loss_fn=cross_entropy(config.label_smoothing) if remedy is None else remedy.loss_fn,
        n_batches=-(-n_rows // config.batch_size),
        fabric=fabric,
        checkpoint=checkpoint,
        fingerprint=fingerprint if first is None else f"{fingerprint} from {first or 'head'}",
        seed=config.seed,
        on_epoch=None if remedy is None else remedy.on_epoch,
    )


def _n_rows_per_epoch(n_images: int, config: ImageTrainingConfig) -> int:
    """Return the number of images in an epoch: all, or all but one if the last batch would have one image."""
    if config.train_layers == "fc":
        return n_images
    # BatchNorm has no variance over a single image if its last feature map is one pixel.
    if config.batch_size == 1:
        raise InputError(
            f"batch_size must be at least 2 if BatchNorm is trained (train_layers {config.train_layers}), got 1; "
            "raise batch_size"
        )
    return n_images - (n_images % config.batch_size == 1)


@dataclass(frozen=True)
class Remedy:
    """Differences from plain training: the rows of each epoch, and the loss.

    Attributes:
        rows: Maps an epoch's number, from 1, to its training rows, the same number in each.
        loss_fn: Maps (logits, labels) to the batch's mean loss.
        on_epoch: Called with the epoch's number before each epoch.
    """

    rows: Callable[[int], NDArray[np.int64]]
    loss_fn: LossFunction
    on_epoch: Callable[[int], None]


class _Score:
    """Accuracy and mean cross-entropy over batches."""

    def __init__(self) -> None:
        self.n_right, self.loss, self.n_images = 0, 0.0, 0

    def add(self, logits: Tensor, labels: Tensor) -> Self:
        self.n_right += int((logits.argmax(dim=1) == labels).sum())
        self.loss += float(functional.cross_entropy(logits.double(), labels, reduction="sum"))
        self.n_images += len(labels)
        return self

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.n_right / self.n_images, "loss": self.loss / self.n_images}
