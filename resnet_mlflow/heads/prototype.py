"""Nearest class mean on features."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from resnet_mlflow.heads.base import Array, HeadBase, Validation, WeightedHead
from resnet_mlflow.heads.preprocessing import unit_length

if TYPE_CHECKING:
    from torch import nn


class PrototypeHead(WeightedHead):
    """The nearest class mean; logits are minus the squared distance, or the cosine.

    Args:
        metric: ``euclidean`` or ``cosine``.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``, the choice of SimpleShot.

    Attributes:
        prototypes_: Class means of the preprocessed features, of shape (n_classes, n_features).

    References:
        Snell et al. (2017), Prototypical Networks for Few-shot Learning, equations 1 and 2: class means, and a
        softmax over minus squared distances. Wang et al. (2019), SimpleShot: CL2N before the mean.

    Example:
        >>> head = PrototypeHead().fit([[0.0], [2.0], [9.0]], [5, 5, 7])
        >>> head.logits([[3.0]]).tolist()
        [[-4.0, -36.0]]
    """

    SEARCH_SPACES: ClassVar[str] = """
prototype:
  preprocessing: [none, standardize, l2, cl2n]
  metric: [euclidean, cosine]
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "metric": [StrOptions({"euclidean", "cosine"})],
    }
    prototypes_: Array

    def __init__(self, *, metric: str = "euclidean", preprocessing: str = "none") -> None:
        self.metric = metric
        self.preprocessing = preprocessing

    def to_torch(self) -> "nn.Module":
        """Return a module that maps features to logits, preprocessing included."""
        from resnet_mlflow.heads.networks import Prototypes, with_preprocessing

        return with_preprocessing(self, Prototypes(self.prototypes_, self.metric))

    def _logits_graph(self) -> "nn.Module":
        from resnet_mlflow.heads.graphs import PrototypeLogits
        from resnet_mlflow.heads.networks import with_preprocessing

        return with_preprocessing(self, PrototypeLogits(self.prototypes_, self.metric))

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        per_item = np.ones(len(labels)) if weights is None else weights
        rows_of = [np.flatnonzero(labels == label) for label in range(len(self.classes_))]
        self.prototypes_ = np.stack([np.average(X[rows], axis=0, weights=per_item[rows]) for rows in rows_of])

    def _logits(self, X: Array) -> Array:
        X = X.astype(np.float64)
        if self.metric == "cosine":
            cosines: Array = unit_length(X) @ unit_length(self.prototypes_).T
            return cosines
        norms = np.einsum("ij,ij->i", X, X)[:, np.newaxis]
        squared = norms + np.einsum("ij,ij->i", self.prototypes_, self.prototypes_) - X @ (2 * self.prototypes_.T)
        logits: Array = -np.maximum(squared, 0)
        return logits
