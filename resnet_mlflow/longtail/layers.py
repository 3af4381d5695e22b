"""Reads the last linear layer of a fitted head, and replaces it."""

from copy import copy

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.heads.base import Array
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.mlp import MLPHead

LayeredHead = LinearHead | MLPHead


def layer_inputs(head: LayeredHead, features: ArrayLike) -> Array:
    """Return the inputs of the last layer, in float32, of shape (n_items, n_inputs)."""
    preprocessed = head._preprocess(head._check_features(features)).astype(np.float32)
    if isinstance(head, LinearHead):
        return preprocessed
    return np.maximum(preprocessed @ head.hidden_weight_.T.astype(np.float32) + head.hidden_bias_, 0).astype(np.float32)


def last_layer(head: LayeredHead) -> tuple[Array, Array]:
    """Return weight (n_classes, n_inputs) and bias (n_classes,) of the last layer."""
    if isinstance(head, LinearHead):
        return head.coef_, head.intercept_
    return head.output_weight_, head.output_bias_


def with_last_layer(head: LayeredHead, weight: ArrayLike, bias: ArrayLike) -> LayeredHead:
    """Return the head with another last layer; the given head is not modified.

    Args:
        head: A fitted head.
        weight: Weight, of shape (n_classes, n_inputs).
        bias: Bias, of shape (n_classes,).
    """
    changed = copy(head)
    coef, intercept = np.array(weight, dtype=np.float64), np.array(bias, dtype=np.float64)
    if isinstance(changed, LinearHead):
        changed.coef_, changed.intercept_ = coef, intercept
    else:
        changed.output_weight_, changed.output_bias_ = coef, intercept
    changed.temperature_ = 1.0
    return changed
