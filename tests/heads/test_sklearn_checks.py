"""Every head passes scikit-learn's own checks of estimators."""

from collections.abc import Callable
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from resnet_mlflow.heads import head_class
from resnet_mlflow.heads.knn import KNNHead
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.prototype import PrototypeHead
from resnet_mlflow.heads.svm import SVMHead
from resnet_mlflow.registry.heads import HEADS

# Where weights and repeated items are compared to seven digits, libsvm must go that far.
PRECISE = {"svm": {"tol": 1e-10}}
OTHER_SETTINGS = [
    SVMHead(loss="squared_hinge", kernel="linear", tol=1e-12),
    SVMHead(class_weight="balanced", preprocessing="standardize", tol=1e-10),
    KNNHead(metric="cosine", weights="softmax", preprocessing="standardize"),
    PrototypeHead(metric="cosine", preprocessing="cl2n"),
    LinearHead(solver="sgd", class_weight="balanced"),
]
ESTIMATORS = [head_class(name)(**PRECISE.get(name, {})) for name in HEADS] + OTHER_SETTINGS


@parametrize_with_checks(ESTIMATORS)  # type: ignore[untyped-decorator]
def test_heads_pass_estimator_check(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
