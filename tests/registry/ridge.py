"""Ridge regression on the classes: the head that ``test_adding`` adds by CONTRIBUTING's recipe."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.utils._param_validation import Interval, StrOptions

from resnet_mlflow.heads.base import Array, HeadBase, Validation, WeightedHead


class RidgeHead(WeightedHead):
    """Least squares from features to minus and plus 1 per class, with a penalty on squared weights.

    Args:
        alpha: Strength of the penalty, above 0.
        class_weight: ``None``, ``balanced``, or a weight per label.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``.

    Example:
        >>> RidgeHead().fit([[0.0], [1.0], [4.0]], ["a", "a", "b"]).predict([[3.0]]).tolist()
        ['b']
    """

    SEARCH_SPACES: ClassVar[str] = """
ridge:
  preprocessing: [none, standardize, l2, cl2n]
  alpha: {low: 0.001, high: 1000, log: true}
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }
    coef_: Array
    intercept_: Array

    def __init__(self, *, alpha: float = 1.0, class_weight: Any = None, preprocessing: str = "none") -> None:
        self.alpha = alpha
        self.class_weight = class_weight
        self.preprocessing = preprocessing

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        targets = 2.0 * np.eye(len(self.classes_))[labels] - 1
        ridge = Ridge(alpha=self.alpha, solver="cholesky").fit(X.astype(np.float64), targets, sample_weight=weights)
        self.coef_, self.intercept_ = ridge.coef_, ridge.intercept_

    def _logits(self, X: Array) -> Array:
        logits: Array = X.astype(np.float64) @ self.coef_.T + self.intercept_
        return logits
