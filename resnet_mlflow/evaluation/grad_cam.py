"""Grad-CAM: which part of an image supports a class, for a backbone with a head that has gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation

# Activations of all layers stay in memory for the gradient: 3 GB for 16 images of 224 pixels in a ResNet-152.
BATCH_SIZE = 16


def locating_stage(image_size: int) -> str:
    """Return the deepest stage of a ResNet whose feature map still has 4 x 4 positions; ``layer4`` for photographs.

    Example:
        >>> locating_stage(224), locating_stage(64), locating_stage(32)
        ('layer4', 'layer3', 'layer2')
    """
    # The stages have one position for every 4, 8, 16 and 32 pixels: at 32 pixels, layer4 has only one, which locates
    # nothing.
    return next((f"layer{i}" for i in (4, 3, 2) if image_size // 2 ** (i + 1) >= 4), "layer1")


def grad_cam(
    backbone: nn.Module, head: nn.Module, images: Tensor, targets: ArrayLike, stage: str = "layer4"
) -> NDArray[np.float32]:
    """Return a map per image that shows where a stage of the backbone supports a class, scaled to a maximum of 1.

    The channels of the stage are weighted by the mean gradient of the class's logit and summed; negative sums are set
    to zero, and the map is resized bilinearly to the image. A map without support is all zero. The backbone runs in
    ``eval`` mode and then returns to its previous mode.

    Args:
        backbone: torchvision's ResNet without ``fc``: images to features, ``(n, n_features)``.
        head: Module from features to logits, ``(n, n_classes)``, such as ``HeadBase.to_torch()``.
        images: Normalized images, float, ``(n, 3, side, side)``.
        targets: Class explained in each image, integers, ``(n,)``.
        stage: ``layer1`` to ``layer4``; the paper uses the last. See ``locating_stage`` for small images.

    Returns:
        Maps in [0, 1], ``(n, side, side)``.

    Raises:
        InputError: If the backbone does not have the stage, or images and targets differ in number.

    References:
        Selvaraju et al. (2017), Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
        equations 1 and 2.
    """
    layer = getattr(backbone, stage, None)
    stages = getattr(backbone, "stages", None)
    if isinstance(stages, nn.Sequential) and len(stages) == 4:  # as in timm's ResNetV2
        layer = stages[int(stage[-1]) - 1]
    if not isinstance(layer, nn.Module):
        raise InputError(f"Grad-CAM needs a backbone with a {stage}, got {type(backbone).__name__}; use a ResNet")
    classes = np.asarray(targets, dtype=np.int64)
    if images.ndim != 4 or len(classes) != len(images):
        raise InputError(f"images must be (n, 3, side, side) with n targets, got {tuple(images.shape)}, {len(classes)}")
    network = nn.Sequential(backbone, head)
    explainer = LayerGradCam(network, layer)
    like = next(backbone.parameters())
    maps = np.zeros((len(images), *images.shape[-2:]), dtype=np.float32)
    with _eval_mode(network), torch.inference_mode(False), torch.enable_grad():
        for start in range(0, len(images), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            # A clone is not an inference tensor; a frozen backbone has no gradients unless the input requires them.
            inputs = images[rows].clone().detach().to(like.device, like.dtype).requires_grad_()
            batch_classes = torch.as_tensor(classes[rows], device=like.device)
            support = explainer.attribute(inputs, batch_classes, relu_attributions=True)
            resized = LayerAttribution.interpolate(support.detach().float(), images.shape[-2:], "bilinear")
            maps[rows] = _scale_to_one(resized[:, 0]).cpu().numpy()
    return maps


def choose_items(evaluation: Evaluation, n_items: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return up to ``n_items`` random rows predicted right and up to as many predicted wrong, sorted."""
    rng = np.random.default_rng(seed)
    right = evaluation.labels == evaluation.predictions
    return _draw_rows(right, n_items, rng), _draw_rows(~right, n_items, rng)


def _draw_rows(mask: NDArray[np.bool_], n_items: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    return np.sort(rng.choice(rows, size=min(n_items, len(rows)), replace=False)).astype(np.int64)


def _scale_to_one(maps: Tensor) -> Tensor:
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, torch.ones_like(largest))


@contextmanager
def _eval_mode(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
