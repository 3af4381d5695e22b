"""Heads as torch modules, and their training; the only module of the heads that imports torch."""

from collections.abc import Callable, Iterator
from itertools import count
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.heads.base import Array, HeadBase, Validation
from resnet_mlflow.process import one_thread
from resnet_mlflow.training.loop import Batches, EpochResult, fit, tensor_batches

FEWEST_HELD_OUT = 20  # fewer items hardly rank epochs


class Preprocessing(nn.Module):
    """A head's preprocessing of features; see ``heads.preprocessing``."""

    def __init__(self, name: str, offset: Array, scale: Array) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Return the preprocessed features."""
        if self.name in ("standardize", "cl2n"):
            features = (features - self.get_buffer("offset")) / self.get_buffer("scale")
        return functional.normalize(features, dim=1) if self.name in ("l2", "cl2n") else features


class Prototypes(nn.Module):
    """Minus squared distances to the class means, or cosines with them."""

    def __init__(self, prototypes: Array, metric: str) -> None:
        super().__init__()
        self.metric = metric
        self.register_buffer("prototypes", torch.tensor(prototypes, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_items, n_classes)."""
        prototypes = self.get_buffer("prototypes")
        if self.metric == "cosine":
            return functional.normalize(features, dim=1) @ functional.normalize(prototypes, dim=1).T
        # From differences: in float32 the product form would lose the significant digits.
        return -torch.cdist(features, prototypes, compute_mode="donot_use_mm_for_euclid_dist").square()


def with_preprocessing(head: HeadBase, module: nn.Module) -> nn.Module:
    """Return a float32 module in eval mode that preprocesses features as the head does, then applies ``module``."""
    if head.preprocessing == "none":
        return module.float().eval()
    return nn.Sequential(Preprocessing(head.preprocessing, head.offset_, head.scale_), module).float().eval()


def linear_layer(weight: Array, bias: Array, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """Return a layer that holds the weight, of shape (n_out, n_in), and the bias, of shape (n_out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device="cpu").to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def random_layer(n_in: int, n_out: int, rng: np.random.Generator) -> nn.Linear:
    """Return a layer initialised like torch's, uniform within 1 / sqrt(n_in), but from the given generator."""
    bound = 1 / np.sqrt(n_in)
    return linear_layer(rng.uniform(-bound, bound, (n_out, n_in)), rng.uniform(-bound, bound, n_out))


def train(
    network: nn.Module,
    X: Array,
    labels: Array,
    weights: Array | None,
    validation: Validation | None,
    options: TrainingConfig,
    *,
    n_classes: int,
    batch_size: int,
    seed: int,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> list[EpochResult]:
    """Return one result per epoch; the network is left with its best weights, in eval mode.

    The best weights are those of highest validation accuracy. Without ``validation``, early stopping
    holds out a tenth of each class, which keeps its weights. Without early stopping, or if the tenth has fewer than 20
    items, there is no validation and the last weights are kept.

    Args:
        network: Maps features to logits, in the precision to train in.
        X: Preprocessed features, of shape (n_items, n_features).
        labels: 0 to ``n_classes - 1``, of shape (n_items,).
        weights: Weight of each item, or ``None``.
        validation: Preprocessed features and labels that are not trained on.
        options: Optimizer, schedule, epochs, patience.
        n_classes: Columns of the logits.
        batch_size: Items per step.
        seed: Seed of the held-out items, the order of items and dropout.
        on_epoch: Called with each result; an exception that it raises ends the training.
    """
    per_item = np.ones(len(labels)) if weights is None else weights
    val_weights, kept = None, np.arange(len(labels))
    if validation is None and options.patience > 0:
        held_out = hold_out(labels, seed)
        if held_out.sum() >= FEWEST_HELD_OUT:
            validation, val_weights = (X[held_out], labels[held_out]), per_item[held_out]
            kept = np.flatnonzero(~held_out)
    dtype = next(network.parameters()).dtype
    batches = _weighted_batches(X, labels, per_item, kept, n_classes, batch_size, seed, dtype)
    validate = _last_is_best() if validation is None else _accuracy_and_loss(validation, val_weights, dtype)
    n_batches = ceil(len(kept) / batch_size)
    # Sums then do not depend on the number of cores, either.
    with one_thread():
        results = fit(
            network, batches, validate, options, loss_fn=functional.cross_entropy, n_batches=n_batches, seed=seed
        )
        history = []
        for result in results:
            history.append(result)
            if on_epoch is not None:
                on_epoch(result)
    return history


def _weighted_batches(
    X: Array,
    labels: Array,
    per_item: Array,
    kept: Array,
    n_classes: int,
    batch_size: int,
    seed: int,
    dtype: torch.dtype,
) -> Batches:
    """Return batches of the kept rows with soft targets, which include an item's weight: the loss is linear in them.

    Targets are made, and rows copied, batch by batch: for all items they would be as large as the features.
    """
    features, of_class = torch.as_tensor(X, dtype=dtype), torch.as_tensor(labels, dtype=torch.int64)
    weights = torch.as_tensor(per_item / per_item[kept].mean(), dtype=dtype)
    row_batches = tensor_batches(torch.as_tensor(kept), torch.as_tensor(kept), batch_size, seed)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, _ in row_batches(epoch):
            targets = torch.zeros(len(rows), n_classes, dtype=dtype)
            targets.scatter_(1, of_class[rows, None], weights[rows, None])
            yield features.index_select(0, rows), targets

    return batches


def hold_out(labels: Array, seed: int) -> Array:
    """Return a mask of a random tenth of each class, rounded: classes of fewer than 5 items give none."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        mask[rng.permutation(rows)[: int(len(rows) / 10 + 0.5)]] = True
    return mask


def _accuracy_and_loss(
    validation: Validation, weights: Array | None, dtype: torch.dtype
) -> Callable[[nn.Module], dict[str, float]]:
    features, labels = torch.tensor(validation[0], dtype=dtype), torch.tensor(validation[1])

    def validate(network: nn.Module) -> dict[str, float]:
        logits = network(features)
        right = (logits.argmax(dim=1) == labels).numpy()
        return {
            "accuracy": float(np.average(right, weights=weights)),
            "loss": float(functional.cross_entropy(logits, labels)),
        }

    return validate


def _last_is_best() -> Callable[[nn.Module], dict[str, float]]:
    epochs: Any = count(1)
    return lambda _: {"accuracy": float(next(epochs))}
