"""A network in fine-tuning as two parts: the frozen stages, and the trained ones."""

from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resnet_mlflow.backbones.inference import fast_stages, stages_in_order
from resnet_mlflow.training.small_maps import MultipliedSmallMaps

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from resnet_mlflow.training.finetuning import FinetuneNetwork


def first_trained(network: "FinetuneNetwork") -> str | None:
    """Return the stage from which all are trained; empty if only the head is.

    None if nothing is frozen, or if stages may not act in the order of registration.
    """
    names, trained = tuple(stages_in_order(network.backbone)), network.trained_stages
    if len(trained) >= len(names) or names[len(names) - len(trained) :] != trained:
        return None
    return trained[0] if trained else ""


class FrozenPart(nn.Module):
    """The stages before the first trained one: normalized images to float32 maps or, before the head, features.

    Args:
        network: The network that these stages belong to; they are moved to the fabric's device.
        first: Result of ``first_trained``.
        fabric: Device and precision.
    """

    def __init__(self, network: "FinetuneNetwork", first: str, fabric: "Fabric") -> None:
        super().__init__()
        self.dtype, self.gives_maps = torch.float32, bool(first)
        self._device = fabric.device.type
        self.is_bf16 = fabric.strategy.precision.precision.startswith("bf16")
        named = takewhile(lambda item: item[0] != first, stages_in_order(network.backbone).items())
        stages = nn.Sequential(*(stage for _, stage in named)).to(fabric.device).eval()
        # bf16 is autocast's, which is what the trained part gets during training.
        is_float32_on_cpu = self._device == "cpu" and not self.is_bf16
        self.stages = fast_stages(stages) if is_float32_on_cpu else stages

    def forward(self, images: Tensor) -> Tensor:
        """Return maps ``(n_images, n_channels, height, width)``, or features ``(n_images, n_features)``."""
        with torch.autocast(self._device, torch.bfloat16, enabled=self.is_bf16):
            maps: Tensor = self.stages(images)
            return (maps if self.gives_maps else maps.mean(dim=(2, 3))).float()


class TrainedPart(nn.Module):
    """The stages from the first trained one on, and the head: output of ``FrozenPart`` to logits.

    Args:
        network: The network; trained in place with it.
        first: Result of ``first_trained``.
    """

    def __init__(self, network: "FinetuneNetwork", first: str) -> None:
        super().__init__()
        names = network.trained_stages if first else ()
        self.stages = nn.ModuleDict({name: network.backbone.get_submodule(name) for name in names})
        self.head = network.head

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, of shape (n_images, n_classes)."""
        with MultipliedSmallMaps():
            for stage in self.stages.values():
                inputs = stage(inputs)
        logits: Tensor = self.head(inputs.mean(dim=(2, 3)) if self.stages else inputs)
        return logits
