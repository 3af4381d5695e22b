"""A fitted head with logits scaled and shifted by class."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from resnet_mlflow.heads.base import Array, HeadBase, fit_temperature

if TYPE_CHECKING:
    from torch import nn


class AdjustedHead(HeadBase):
    """Another head's logits, times a factor, plus an offset per class.

    Built by ``adjust`` from a fitted head; ``fit`` fits a copy of that head and keeps scale and offsets.

    Args:
        head: The head whose logits are adjusted.
        factor: Factor on its logits, above 0.
        offsets: Offsets added to them, of shape (n_classes,).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "head": [HeadBase],
        "factor": [float, int],
        "offsets": ["array-like"],
    }
    preprocessing = "none"
    gives_log_probabilities = True
    head_: HeadBase

    def __init__(self, *, head: HeadBase, factor: float, offsets: Any) -> None:
        self.head = head
        self.factor = factor
        self.offsets = offsets

    def logits(self, X: ArrayLike) -> Array:
        """Return adjusted scores of shape (n_items, n_classes); the highest is the predicted class."""
        check_is_fitted(self)
        logits: Array = self.head_.logits(X) * self.factor + np.asarray(self.offsets)
        return logits

    def to_torch(self) -> "nn.Module":
        """Return a module that maps features to logits, preprocessing included."""
        from torch import nn

        from resnet_mlflow.heads.networks import linear_layer

        offsets = np.asarray(self.offsets, dtype=np.float64)
        scaled = linear_layer(np.eye(len(offsets)) * self.factor, offsets)
        return nn.Sequential(self.head_.to_torch(), scaled).float().eval()

    def _logits_graph(self) -> "nn.Module":
        from resnet_mlflow.heads.graphs import AdjustedLogits

        return AdjustedLogits(self.head_.to_graph(), self.factor, np.asarray(self.offsets, dtype=np.float64))

    def _fit_checked(
        self, X: ArrayLike, y: ArrayLike, X_val: ArrayLike | None, y_val: ArrayLike | None, sample_weight: Any
    ) -> Self:
        from sklearn.base import clone

        self._validate_params()
        return self._adopt(clone(self.head).fit(X, y, X_val, y_val))

    def _adopt(self, fitted: HeadBase) -> Self:
        self.head_ = fitted
        self.classes_, self.n_features_in_ = fitted.classes_, fitted.n_features_in_
        self.temperature_ = 1.0
        return self


def adjust(head: HeadBase, offsets: ArrayLike, factor: float = 1.0) -> AdjustedHead:
    """Return a fitted head with the logits of another one, times ``factor``, plus ``offsets``.

    Args:
        head: A fitted head; it is used directly, not copied.
        offsets: Added to the logits of each class, of shape (n_classes,).
        factor: Factor applied to the logits first.
    """
    from sklearn.base import clone

    values = np.asarray(offsets, dtype=np.float64)
    return AdjustedHead(head=clone(head), factor=float(factor), offsets=values)._adopt(head)


def logit_factor(head: HeadBase, val_logits: Array, val_labels: Array) -> float:
    """Return the factor that makes the head's logits log-probabilities: 1 if they are, else 1 / temperature.

    Args:
        head: A fitted head.
        val_logits: Its logits on validation data, of shape (n_items, n_classes).
        val_labels: Columns of the true classes, of shape (n_items,).
    """
    if head.gives_log_probabilities:
        return 1.0
    return 1 / fit_temperature(val_logits, val_labels)
