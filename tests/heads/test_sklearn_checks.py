"""Every head passes scikit-learn's own checks of estimators."""

from collections.abc import Callable
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from resnet_mlflow.heads.knn import KNNHead
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.mlp import MLPHead
from resnet_mlflow.heads.prototype import PrototypeHead
from resnet_mlflow.heads.svm import SVMHead

HEADS = [
    # Where weights and repeated items are compared to seven digits, solvers must go that far.
    SVMHead(tol=1e-10),
    SVMHead(loss="squared_hinge", kernel="linear", tol=1e-12),
    SVMHead(class_weight="balanced", preprocessing="standardize", tol=1e-10),
    KNNHead(),
    KNNHead(metric="cosine", weights="softmax", preprocessing="standardize"),
    MLPHead(),
    PrototypeHead(),
    PrototypeHead(metric="cosine", preprocessing="cl2n"),
    LinearHead(C=0.01, tol=1e-12),
    LinearHead(solver="sgd", class_weight="balanced"),
]


@parametrize_with_checks(HEADS)  # type: ignore[untyped-decorator]
def test_heads_pass_estimator_check(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
