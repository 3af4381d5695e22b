"""Training of linear and MLP heads on features, with any rows, weights and loss of the long tail."""

from collections.abc import Callable
from functools import singledispatch
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.heads.base import Array, HeadBase, Validation
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.mlp import MLPHead
from resnet_mlflow.heads.networks import linear_layer, random_layer
from resnet_mlflow.heads.preprocessing import apply_preprocessing, fit_preprocessing
from resnet_mlflow.longtail.losses import LongTailLoss
from resnet_mlflow.longtail.posthoc import mean_recall
from resnet_mlflow.longtail.samplers import RowSampler
from resnet_mlflow.process import one_thread
from resnet_mlflow.training.loop import fit


class NormalizedLinear(nn.Module):
    """Cosines of features with one learned direction per class."""

    def __init__(self, weight: Tensor, scale: float) -> None:
        """Start from a weight of shape (n_classes, n_features); logits are cosines times ``scale``."""
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Return cosines, of shape (n_items, n_classes)."""
        return functional.linear(functional.normalize(features, dim=1), functional.normalize(self.weight, dim=1))


def scaled_directions(layer: NormalizedLinear) -> Array:
    """Return the weight of the linear layer without bias that gives its logits for features of unit length."""
    return layer.scale * _numpy(functional.normalize(layer.weight.detach().double(), dim=1))


class ScaledLogits(nn.Module):
    """Logits times one learned factor per class, starting at 1."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.ones(n_classes))

    def forward(self, logits: Tensor) -> Tensor:
        """Return scaled logits, of shape (n_items, n_classes)."""
        return logits * self.scales


def train_network(
    network: nn.Module,
    train: tuple[Array, Array],
    val: Validation,
    rows: RowSampler,
    loss: LongTailLoss,
    options: TrainingConfig,
    batch_size: int,
    seed: int,
) -> None:
    """Train the network in place; it ends with the weights of highest balanced validation accuracy.

    Args:
        network: Maps inputs to logits, float32.
        train: Inputs (n_items, n_inputs) and labels (n_items,), 0 to ``n_classes - 1``.
        val: Validation inputs and labels that select the epoch.
        rows: Maps an epoch's number to its training rows, the same number in each epoch.
        loss: Maps logits and labels to the mean loss.
        options: Optimizer, schedule, epochs, patience.
        batch_size: Items per step.
        seed: Seed of dropout.
    """
    inputs, labels = (torch.from_numpy(np.ascontiguousarray(values)) for values in train)

    def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
        chunks = torch.split(torch.from_numpy(rows(epoch)), batch_size)
        return [(inputs.index_select(0, chunk), labels[chunk]) for chunk in chunks]

    with one_thread():
        results = fit(
            network,
            batches,
            _balanced_accuracy(val),
            options,
            loss_fn=loss,
            n_batches=ceil(len(rows(1)) / batch_size),
            seed=seed,
            on_epoch=loss.on_epoch,
        )
        for _ in results:
            pass


@singledispatch
def fit_on_loss(
    head: Any, train: tuple[Array, Array], val: Validation, rows: RowSampler, loss: LongTailLoss, seed: int
) -> HeadBase:
    """Return the head fitted by gradient descent on any loss, by the function for its class; see ``fit_linear``.

    Raises:
        TypeError: If there is none for its class.
    """
    raise TypeError(f"a head that is trained in epochs must register with fit_on_loss, got {type(head).__name__}")


@fit_on_loss.register
def fit_linear(
    head: LinearHead, train: tuple[Array, Array], val: Validation, rows: RowSampler, loss: LongTailLoss, seed: int
) -> LinearHead:
    """Return the head fitted by gradient descent on any loss.

    Args:
        head: An unfitted head, which gives the ``sgd`` parameters and the preprocessing. A loss on cosines needs
            features of unit length; a preprocessing without them becomes ``cl2n``.
        train: Features (n_items, n_features) and labels (n_items,), 0 to ``n_classes - 1``.
        val: Validation features and labels that select the epoch.
        rows: Maps an epoch's number to its training rows.
        loss: Maps logits and labels to the mean loss, or cosines and labels if it has a ``scale``.
        seed: Seed of initial weights.
    """
    cosines = loss.scale > 0
    if cosines and head.preprocessing not in ("l2", "cl2n"):
        head.set_params(preprocessing="cl2n")
    (X, X_val), n_classes = _start(head, train, val), int(train[1].max()) + 1
    n_features = X.shape[1]
    # The problem is convex except for cosines, where directions must not be zero: only these need a random start.
    layer = linear_layer(np.zeros((n_classes, n_features)), np.zeros(n_classes))
    start = random_layer(n_features, n_classes, np.random.default_rng(seed))
    network: nn.Module = NormalizedLinear(start.weight.detach(), loss.scale) if cosines else layer
    train_network(network, (X, train[1]), (X_val, val[1]), rows, loss, head.training_options(), head.batch_size, seed)
    if isinstance(network, NormalizedLinear):
        head.coef_, head.intercept_ = scaled_directions(network), np.zeros(n_classes)
    else:
        head.coef_, head.intercept_ = _numpy(layer.weight), _numpy(layer.bias)
    head.n_iter_ = head.epochs
    return head


@fit_on_loss.register
def fit_mlp(
    head: MLPHead, train: tuple[Array, Array], val: Validation, rows: RowSampler, loss: LongTailLoss, seed: int
) -> MLPHead:
    """Return the head fitted by gradient descent on any loss; arguments as for ``fit_linear``."""
    (X, X_val), n_classes = _start(head, train, val), int(train[1].max()) + 1
    rng = np.random.default_rng(seed)
    hidden, output = random_layer(X.shape[1], head.hidden, rng), random_layer(head.hidden, n_classes, rng)
    network = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(head.dropout), output)
    train_network(network, (X, train[1]), (X_val, val[1]), rows, loss, head.training_options(), head.batch_size, seed)
    head.hidden_weight_, head.hidden_bias_ = _numpy(hidden.weight), _numpy(hidden.bias)
    head.output_weight_, head.output_bias_ = _numpy(output.weight), _numpy(output.bias)
    return head


def _start(head: LinearHead | MLPHead, train: tuple[Array, Array], val: Validation) -> tuple[Array, Array]:
    """Set the attributes of a fitted head, and return the preprocessed features of both splits, in float32."""
    features, labels = train
    head.offset_, head.scale_ = fit_preprocessing(head.preprocessing, features, None)
    head.classes_, head.n_features_in_, head.temperature_ = np.arange(int(labels.max()) + 1), features.shape[1], 1.0
    first, second = (
        apply_preprocessing(head.preprocessing, X, head.offset_, head.scale_).astype(np.float32)
        for X in (features, val[0])
    )
    return first, second


def _balanced_accuracy(val: Validation) -> Callable[[nn.Module], dict[str, float]]:
    inputs, labels = torch.from_numpy(np.ascontiguousarray(val[0])), np.asarray(val[1])

    def validate(network: nn.Module) -> dict[str, float]:
        return {"accuracy": mean_recall(labels, network(inputs).argmax(dim=1).numpy())}

    return validate


def _numpy(values: Tensor) -> Array:
    return values.detach().cpu().double().numpy()
