"""Grad-CAM maps of a classifier's right and wrong test images, as a figure of its run."""

from typing import Protocol

import numpy as np

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.evaluation.grad_cam import choose_items, grad_cam, locating_stage
from resnet_mlflow.evaluation.image_figures import attention_figure
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.stages.items import items_of
from resnet_mlflow.stages.preparation import Inputs
from resnet_mlflow.stages.reporting import evaluate_head
from resnet_mlflow.tracking import StageRun


class AttentionConfig(Protocol):
    """The parameters used here."""

    @property
    def backbone(self) -> str:
        """Name of the network."""

    @property
    def attention_maps(self) -> int:
        """Number of images of each kind."""

    @property
    def seed(self) -> int:
        """Seed of the choice of images."""


def log_attention_maps(
    run: StageRun, inputs: Inputs, config: AttentionConfig, head: HeadBase, test: FeatureSplit
) -> None:
    """Log ``figures/attention_maps.png``: up to that many right and wrong test images with their maps."""
    evaluation = evaluate_head(head, test, inputs.dataset.class_names)
    rows = np.concatenate(choose_items(evaluation, config.attention_maps, config.seed))
    items = items_of(inputs.dataset, "test", test)
    images, chosen = items.images, items.rows[rows]
    how = inputs.preprocessing
    batch = next(iterate_batches(images, inputs.image_size, max(1, len(rows)), 0, rows=chosen, preprocessing=how))
    backbone = build_backbone(config.backbone, inputs.weights)
    targets, stage = evaluation.predictions[rows], locating_stage(inputs.image_size)
    maps = grad_cam(backbone, head.to_torch(), normalize(batch.images, preprocessing=how), targets, stage)
    figure = attention_figure(evaluation, rows, batch.images.permute(0, 2, 3, 1).numpy(), maps, items.named)
    with run.artifacts() as folder:
        (folder / "figures").mkdir()
        figure.savefig(folder / "figures" / "attention_maps.png")
