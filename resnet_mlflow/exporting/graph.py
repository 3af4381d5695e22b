"""A complete classifier as one exportable torch module, from resized uint8 pixels to answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.backbones.inference import plain_form
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.uncertainty.graphs import RulesGraph
from resnet_mlflow.uncertainty.rules import Rules

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Names of the output arrays; the last three only with rules.
SCORES, LABEL, SET, ANSWERED, UNLIKE = "scores", "label", "set", "answered", "unlike"
PLAIN_OUTPUTS, RULED_OUTPUTS = (SCORES, LABEL), (SCORES, LABEL, SET, ANSWERED, UNLIKE)


class ClassifierGraph(nn.Module):
    """Normalisation, backbone, head and rules: pixels to scores, label and, with rules, set, answered and unlike.

    Args:
        backbone: Result of ``build_backbone``, in eval mode.
        head: Head fitted on its features.
        preprocessing: The preprocessing that the weights expect; images are already resized.
        rules: Rules for withholding an answer; None means that it always answers.
        class_names: Class names in the order of the head's columns.
        precision: Precision of the backbone, a key of ``DTYPES``; everything else is in fp32.

    Raises:
        InputError: If the head, or the score of unlike images, has no graph.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: HeadBase,
        preprocessing: Preprocessing,
        rules: Rules | None,
        class_names: Sequence[str],
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.dtype = DTYPES[precision]
        # Quantisation finds this part of graphs by its name.
        self.backbone = plain_form(backbone).to(self.dtype)
        self.head = head.to_graph()
        self.temperature = float(head.temperature_)
        self.rules = None if rules is None else RulesGraph(rules, class_names)
        std, mean = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.std, preprocessing.mean))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs."""
        return PLAIN_OUTPUTS if self.rules is None else RULED_OUTPUTS

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return ``outputs`` of ``(n_images, side, side, 3)`` uint8."""
        pixels = images.permute(0, 3, 1, 2).float() * self.get_buffer("scale") + self.get_buffer("shift")
        maps: Tensor = self.backbone(pixels.to(self.dtype)).float()
        features = maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps
        logits, leads = self.head(features)
        scores = functional.softmax(logits / self.temperature, dim=1)
        if self.rules is None:
            return scores, scores.argmax(dim=1)
        answers: Any = self.rules(features, logits, leads, scores)
        return (scores, *answers)
