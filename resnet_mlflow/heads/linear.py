"""Multinomial logistic regression on features, equivalent to fine-tuning only the last layer."""

import logging
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import Array, HeadBase, Validation, WeightedHead
from resnet_mlflow.heads.logistic import fit_logistic

if TYPE_CHECKING:
    from torch import nn

    from resnet_mlflow.config import TrainingConfig

logger = logging.getLogger(__name__)


class LinearHead(WeightedHead):
    """One linear layer under a softmax, found by L-BFGS and Newton steps, or trained by stochastic gradient descent.

    Args:
        solver: ``lbfgs`` reads ``C``, ``max_iter`` and ``tol``; ``sgd`` reads the parameters after them.
        C: Inverse strength of the L2 penalty on the sum of losses, above 0.
        max_iter: Maximum number of ``lbfgs`` iterations, Newton steps included.
        tol: Root of twice the amount by which the mean loss may still fall, above 0; see ``heads.logistic``.
        learning_rate: Learning rate of SGD with Nesterov momentum 0.9, per 256 items of a batch, in (0, 100]; follows a
            cosine schedule.
        weight_decay: In [0, 10]; the bias is exempt.
        epochs: Passes over the items, in [1, 10000].
        batch_size: Items per step, at least 1.
        patience: Epochs without a better validation accuracy before training stops; 0 means never, and without
            validation data the last weights are kept. Above 0, a tenth of each class is held out if none is given.
        class_weight: ``None``, ``balanced``, or a weight per label.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``. A backbone's features vary little between images
            compared with their means; if they are standardized, one ``C`` and one learning rate suit every backbone.
        seed: Seed of the order of items and of the held-out items of ``sgd``.

    Attributes:
        coef_: Coefficients, of shape (n_classes, n_features); two rows for two classes.
        intercept_: Intercepts, of shape (n_classes,).
        n_iter_: Iterations, or epochs of SGD.

    References:
        Oquab et al. (2023), DINOv2, appendix: L-BFGS with C on a grid. Caron et al. (2021), DINO: linear probe
        by SGD at 0.1 * batch / 256 with a cosine schedule.
    """

    gives_log_probabilities = True
    SEARCH_SPACES: ClassVar[str] = """
linear:
  preprocessing: [none, standardize, l2, cl2n]
  C: {low: 0.000001, high: 10000000, log: true, grid: 14}
# DINOv2 (Oquab et al., 2023): 45 values of C from 10^-6 to 10^5.
linear-dinov2:
  preprocessing: [none]
  solver: [lbfgs]
  max_iter: [1000]
  C: {low: 0.000001, high: 100000, log: true, grid: 45}
# A linear probe by SGD, as DINO and lightly train it: its epochs let poor trials be ended early.
linear-sgd:
  preprocessing: [none, standardize, l2, cl2n]
  solver: [sgd]
  learning_rate: {low: 0.001, high: 10, log: true}
  weight_decay: {low: 0.0, high: 0.001}
  epochs: [30]
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "solver": [StrOptions({"lbfgs", "sgd"})],
        "C": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [Interval(Real, 0, 100, closed="right")],
        "weight_decay": [Interval(Real, 0, 10, closed="both")],
        "epochs": [Interval(Integral, 1, 10_000, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "seed": [Interval(Integral, 0, 2**31 - 1, closed="both")],
    }
    coef_: Array
    intercept_: Array
    n_iter_: int

    def __init__(
        self,
        *,
        solver: str = "lbfgs",
        C: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-5,
        learning_rate: float = 0.1,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 256,
        patience: int = 0,
        class_weight: str | dict[Any, float] | None = None,
        preprocessing: str = "standardize",
        seed: int = 0,
    ) -> None:
        self.solver = solver
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
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
        from resnet_mlflow.heads.networks import linear_layer, with_preprocessing

        return with_preprocessing(self, linear_layer(self.coef_, self.intercept_))

    def training_options(self) -> "TrainingConfig":
        """Return how the ``sgd`` solver trains."""
        from resnet_mlflow.config import TrainingConfig

        return TrainingConfig(
            epochs=self.epochs,
            optimizer="sgd",
            learning_rate=self.learning_rate * self.batch_size / 256,
            weight_decay=self.weight_decay,
            schedule="cosine",
            patience=self.patience,
        )

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, labels, weights)
        else:
            self._fit_sgd(X, labels, weights, validation)

    def _fit_lbfgs(self, X: Array, labels: Array, weights: Array | None) -> None:
        found = fit_logistic(X, labels, weights, C=float(self.C), max_iter=self.max_iter, tol=self.tol)
        if not found.converged:
            logger.warning("linear: the search stopped at max_iter=%d; raise it", self.max_iter)
        self.coef_, self.intercept_, self.n_iter_ = found.coef, found.intercept, found.n_iter

    def _fit_sgd(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        import torch

        from resnet_mlflow.heads.networks import linear_layer, train

        n_classes = len(self.classes_)
        # The problem is convex: starting at zeros is as good as anywhere else, and needs no seed.
        layer = linear_layer(np.zeros((n_classes, X.shape[1])), np.zeros(n_classes), torch.float64)
        history = train(
            layer,
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
        self.coef_, self.intercept_ = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        self.n_iter_ = len(history)

    def _logits(self, X: Array) -> Array:
        # In the precision of the features, like the search for the coefficients.
        logits: Array = (X @ self.coef_.T.astype(X.dtype)).astype(np.float64) + self.intercept_
        return logits


def from_linear(weight: ArrayLike, bias: ArrayLike, classes: ArrayLike) -> LinearHead:
    """Return a fitted head that gives the logits of a trained linear layer.

    Args:
        weight: Weight, of shape (n_classes, n_features), on the CPU, without gradients.
        bias: Bias, of shape (n_classes,).
        classes: Labels of the layer's outputs, sorted, of shape (n_classes,).

    Raises:
        InputError: If the shapes do not fit together, or the classes are not sorted.

    Example:
        >>> from_linear([[1.0], [-1.0]], [0.0, 0.0], ["cat", "dog"]).predict([[3.0]]).tolist()
        ['cat']
    """
    coef, intercept, labels = np.array(weight, np.float64), np.array(bias, np.float64), np.array(classes)
    if coef.ndim != 2 or intercept.shape != coef.shape[:1] or labels.shape != coef.shape[:1] or len(labels) < 2:
        raise InputError(
            "weight, bias and classes must have shapes (n_classes, n_features), (n_classes,), (n_classes,) with at "
            f"least two classes, got {coef.shape}, {intercept.shape}, {labels.shape}; pass those of one layer"
        )
    if not np.array_equal(np.unique(labels), labels):
        raise InputError(f"classes must be sorted and different, got {labels[:5].tolist()}; reorder rows with them")
    head = LinearHead(preprocessing="none")
    head.coef_, head.intercept_, head.classes_ = coef, intercept, labels
    head.offset_, head.scale_ = np.zeros(coef.shape[1]), np.ones(coef.shape[1])
    head.temperature_, head.n_features_in_, head.n_iter_ = 1.0, coef.shape[1], 0
    return head
