"""A complete classifier as one torch module, from resized uint8 pixels to answers, that can be exported."""

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
# Of the arrays that come out; the last three where there are rules.
SCORES, LABEL, SET, ANSWERED, UNLIKE = "scores", "label", "set", "answered", "unlike"
PLAIN_OUTPUTS, RULED_OUTPUTS = (SCORES, LABEL), (SCORES, LABEL, SET, ANSWERED, UNLIKE)


class ClassifierGraph(nn.Module):
    """Normalisation, backbone, head and rules: pixels to scores, label and, with rules, set, answered and unlike.

    Args:
        backbone: As ``build_backbone`` gives it, in eval mode.
        head: Fitted on its features.
        preprocessing: How the weights want their images; they come resized already.
        rules: When it should not answer; None: it always does.
        class_names: In the order of the head's columns.
        precision: A key of ``DTYPES``, of the backbone; all else is in fp32.

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
        # Graphs are quantised by the name of this part.
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
        """Return the names of what comes out."""
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
