"""Two-step methods: features are kept, and a new classifier is fitted on class-balanced draws or class means."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.base import Array, HeadBase, Validation
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.networks import linear_layer, random_layer
from resnet_mlflow.longtail.layers import LayeredHead, last_layer, layer_inputs, with_last_layer
from resnet_mlflow.longtail.losses import LongTailLoss
from resnet_mlflow.longtail.networks import ScaledLogits, train_network
from resnet_mlflow.longtail.samplers import build_row_sampler
from resnet_mlflow.longtail.schedule import CRT_EPOCHS, CRT_STEPS, LWS_EPOCHS, LWS_STEPS, enough_epochs

# Returns the head fitted with ``none``.
Base = Callable[[], LayeredHead]

# Adam changes a scale by about the learning rate per step: a hundred steps lead from 1 to any relevant factor.
LWS_RATE = 1e-2


@dataclass(frozen=True)
class Stage2:
    """Data and seed of a second step.

    Attributes:
        features: Training features, of shape (n_items, n_features).
        labels: 0 to ``n_classes - 1``, of shape (n_items,).
        val: Validation features and labels that select the epoch.
        seed: Seed of draws and initial weights.
    """

    features: Array
    labels: NDArray[np.int64]
    val: Validation
    seed: int

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


def fit_crt(base: Base, data: Stage2) -> LayeredHead:
    """Return the head with its last layer retrained for 10 epochs or slightly more on class-balanced draws.

    Args:
        base: Returns a fitted head; everything below its last layer is kept.
        data: Data that it was fitted on.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, section 4.2: cRT.
    """
    head = base()
    n_epochs = enough_epochs(CRT_EPOCHS, CRT_STEPS, len(data.labels), head.batch_size)
    options = head.training_options().model_copy(update={"epochs": n_epochs, "patience": 0})
    inputs, val_inputs = layer_inputs(head, data.features), layer_inputs(head, data.val[0])
    n_inputs = inputs.shape[1]
    if isinstance(head, LinearHead):
        layer = linear_layer(np.zeros((data.n_classes, n_inputs)), np.zeros(data.n_classes))
    else:
        layer = random_layer(n_inputs, data.n_classes, np.random.default_rng(data.seed))
    _train_balanced(layer, (inputs, data.labels), (val_inputs, data.val[1]), options, head.batch_size, data.seed)
    return with_last_layer(head, layer.weight.detach().numpy(), layer.bias.detach().numpy())


def fit_lws(base: Base, data: Stage2) -> LayeredHead:
    """Return the head with each class's logit times a learned factor, trained on class-balanced draws.

    Args:
        base: Returns a fitted head; its weights are kept except for the scale of each row and its bias.
        data: Data that it was fitted on.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, section 4.2: LWS.
    """
    head = base()
    weight, bias = last_layer(head)
    logits, val_logits = (head.logits(X).astype(np.float32) for X in (data.features, data.val[0]))
    scales = ScaledLogits(data.n_classes)
    n_epochs = enough_epochs(LWS_EPOCHS, LWS_STEPS, len(data.labels), head.batch_size)
    options = TrainingConfig(epochs=n_epochs, optimizer="adam", learning_rate=LWS_RATE, schedule="cosine")
    _train_balanced(scales, (logits, data.labels), (val_logits, data.val[1]), options, head.batch_size, data.seed)
    factors = scales.scales.detach().double().numpy()
    return with_last_layer(head, weight * factors[:, np.newaxis], bias * factors)


def fit_ncm(base: Base, data: Stage2) -> HeadBase:
    """Return the nearest-class-mean head on centred features of unit length.

    Args:
        base: Not called: class means need no fitted head.
        data: Data to fit on.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, section 4.2: NCM.
        Wang et al. (2019), SimpleShot, section 3: centred and of unit length.
    """
    return build_head("prototype", {"preprocessing": "cl2n"}, data.seed).fit(data.features, data.labels)


def _train_balanced(
    network: torch.nn.Module,
    train: tuple[Array, Array],
    val: Validation,
    options: TrainingConfig,
    batch_size: int,
    seed: int,
) -> None:
    n_classes = int(train[1].max()) + 1
    rows = build_row_sampler(("resample_balanced",), train[1], n_classes, options.epochs, seed)
    train_network(network, train, val, rows, LongTailLoss(), options, batch_size, seed)
