"""A network with one hidden layer on features."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from resnet_mlflow.heads.base import Array, HeadBase, Validation

if TYPE_CHECKING:
    from torch import nn

    from resnet_mlflow.config import TrainingConfig


class MLPHead(HeadBase):
    """One hidden layer, ReLU and dropout, trained by Adam with early stopping on validation data.

    Training needs torch; prediction does not.

    Args:
        hidden: Width of the hidden layer, at least 1.
        dropout: Fraction of hidden values dropped in training, in [0, 1).
        learning_rate: Learning rate of Adam, in (0, 100].
        weight_decay: In [0, 10]; biases are exempt.
        epochs: Maximum number of passes over the items, in [1, 10000].
        batch_size: Items per step, at least 1.
        patience: Epochs without a better validation accuracy before training stops; 0 means never. If ``fit`` gets no
            validation data, a tenth of each class is held out.
        class_weight: ``None``, ``balanced``, or a weight per label.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``. A backbone's features vary little between images
            compared with their means; if they are standardized, the same learning rate suits every backbone.
        seed: Seed of the initial weights, the order of items, dropout and the held-out items.

    Attributes:
        n_epochs_: Epochs trained.
        train_loss_: Mean loss per epoch.
        val_accuracy_: Validation accuracy per epoch; empty without validation.
    """

    gives_log_probabilities = True
    SEARCH_SPACES: ClassVar[str] = """
mlp:
  preprocessing: [none, standardize, l2, cl2n]
  hidden: {low: 64, high: 1024, integer: true, log: true}
  dropout: {low: 0.0, high: 0.8}
  learning_rate: {low: 0.0001, high: 0.01, log: true}
  weight_decay: {low: 0.0, high: 0.01}
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "hidden": [Interval(Integral, 1, 65536, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "learning_rate": [Interval(Real, 0, 100, closed="right")],
        "weight_decay": [Interval(Real, 0, 10, closed="both")],
        "epochs": [Interval(Integral, 1, 10_000, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "seed": [Interval(Integral, 0, 2**31 - 1, closed="both")],
    }
    hidden_weight_: Array
    hidden_bias_: Array
    output_weight_: Array
    output_bias_: Array

    def __init__(
        self,
        *,
        hidden: int = 512,
        dropout: float = 0.5,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        epochs: int = 50,
        batch_size: int = 128,
        patience: int = 10,
        class_weight: str | dict[Any, float] | None = None,
        preprocessing: str = "standardize",
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.class_weight = class_weight
        self.preprocessing = preprocessing
        self.seed = seed

    def to_torch(self) -> "nn.Module":
        """Return a module that maps features to logits, preprocessing included."""
        from torch import nn

        from resnet_mlflow.heads.networks import linear_layer, with_preprocessing

        hidden = linear_layer(self.hidden_weight_, self.hidden_bias_)
        output = linear_layer(self.output_weight_, self.output_bias_)
        return with_preprocessing(self, nn.Sequential(hidden, nn.ReLU(), output))

    def training_options(self) -> "TrainingConfig":
        """Return how the network is trained."""
        from resnet_mlflow.config import TrainingConfig

        return TrainingConfig(
            epochs=self.epochs,
            optimizer="adam",
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="constant",
            patience=self.patience,
        )

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        from torch import nn

        from resnet_mlflow.heads.networks import random_layer, train

        rng, n_classes = np.random.default_rng(self.seed), len(self.classes_)
        hidden, output = random_layer(X.shape[1], self.hidden, rng), random_layer(self.hidden, n_classes, rng)
        network = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(self.dropout), output)
        history = train(
            network,
            X,
            labels,
            weights,
            validation,
            self.training_options(),
            n_classes=n_classes,
            batch_size=self.batch_size,
            seed=self.seed,
            on_epoch=self.on_epoch,
        )
        self.hidden_weight_, self.hidden_bias_ = hidden.weight.detach().numpy(), hidden.bias.detach().numpy()
        self.output_weight_, self.output_bias_ = output.weight.detach().numpy(), output.bias.detach().numpy()
        self.n_epochs_ = len(history)
        self.train_loss_ = np.array([result.train_loss for result in history])
        validated = [result.val_metrics for result in history if "loss" in result.val_metrics]
        self.val_accuracy_ = np.array([metrics["accuracy"] for metrics in validated])

    def _logits(self, X: Array) -> Array:
        # In the precision of the features, as in training.
        hidden = X @ self.hidden_weight_.T + self.hidden_bias_
        logits: Array = np.maximum(hidden, 0, out=hidden) @ self.output_weight_.T + self.output_bias_
        return logits.astype(np.float64)
