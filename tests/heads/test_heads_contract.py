"""What holds for every head, whichever it is."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import clone

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import head_class
from resnet_mlflow.heads.base import HeadBase, fit_temperature
from resnet_mlflow.heads.knn import KNNHead
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.mlp import MLPHead
from resnet_mlflow.heads.prototype import PrototypeHead
from resnet_mlflow.heads.svm import SVMHead
from resnet_mlflow.registry import heads as registry

Array = NDArray[Any]
# Settings beside the defaults; a name begins with its head's. The mlp's own would take minutes here.
OTHER_SETTINGS: dict[str, Callable[[], HeadBase]] = {
    "svm_poly": lambda: SVMHead(kernel="poly", degree=2, coef0=1.0, class_weight="balanced"),
    "svm_squared_hinge": lambda: SVMHead(loss="squared_hinge", kernel="linear", preprocessing="l2"),
    "knn_cosine": lambda: KNNHead(k=10, metric="cosine", weights="softmax", preprocessing="cl2n"),
    "mlp": lambda: MLPHead(hidden=32, learning_rate=1e-2, epochs=30),
    "prototype_cosine": lambda: PrototypeHead(metric="cosine", preprocessing="cl2n"),
    "linear_sgd": lambda: LinearHead(solver="sgd", epochs=15, patience=5),
}
HEADS: dict[str, Callable[[], HeadBase]] = {name: head_class(name) for name in registry.HEADS} | OTHER_SETTINGS
WITH_GRADIENTS = [name for name in HEADS if registry.HEADS[name.split("_")[0]].has_gradients]
WITH_EPOCHS = [name for name in HEADS if HEADS[name]().get_params().get("epochs") and name != "linear"]
WITH_CLASS_WEIGHT = [name for name in HEADS if "class_weight" in HEADS[name]().get_params() and name != "svm_poly"]


def features_and_labels(n_classes: int, n_items: int = 240, seed: int = 0, noise: float = 1.0) -> tuple[Array, Array]:
    """Return overlapping clusters of positive float32 features, a row's class being its number modulo n_classes."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(n_classes, 12))
    labels = np.arange(n_items) % n_classes
    features = np.maximum(centers[labels] + noise * rng.normal(size=(n_items, 12)) + 0.5, 0)
    return features.astype(np.float32), labels


@pytest.fixture(params=HEADS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("row", registry.HEADS.values(), ids=lambda row: row.name)
def test_row_tells_the_truth_of_its_estimator(row: registry.Head) -> None:
    estimator = head_class(row.name)
    assert issubclass(estimator, HeadBase)
    assert row.has_gradients == (estimator.to_torch is not HeadBase.to_torch)
    assert row.has_epochs == ("epochs" in estimator().get_params())
    X, y = features_and_labels(3)
    twice = np.flatnonzero(y == 0)
    first, second = (HEADS[row.name]().fit(X[rows], y[rows]) for rows in (np.arange(240), np.r_[np.arange(240), twice]))
    assert row.depends_on_class_sizes == (not np.allclose(first.logits(X), second.logits(X), atol=1e-6))


@pytest.mark.parametrize("n_classes", [2, 10])
def test_predict_is_the_highest_logit(name: str, n_classes: int) -> None:
    X, y = features_and_labels(n_classes)
    X_test, y_test = features_and_labels(n_classes, seed=1)
    head = HEADS[name]()
    assert head.fit(X, y) is head
    logits = head.logits(X_test)
    assert logits.shape == (240, n_classes)
    assert logits.dtype == np.float64
    assert np.isfinite(logits).all()
    assert_array_equal(head.predict(X_test), head.classes_[logits.argmax(axis=1)])
    assert head.score(X_test, y_test) > 0.5 + 0.5 / n_classes - 0.1


@pytest.mark.parametrize("n_classes", [2, 10])
def test_predict_proba_sums_to_one_and_agrees(name: str, n_classes: int) -> None:
    X, y = features_and_labels(n_classes)
    head = HEADS[name]().fit(X, y)
    probabilities = head.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(probabilities.argmax(axis=1), head.predict(X))


def test_decision_function_has_one_column_for_two_classes(name: str) -> None:
    X, y = features_and_labels(2)
    head = HEADS[name]().fit(X, y)
    logits = head.logits(X)
    assert_array_equal(head.decision_function(X), logits[:, 1] - logits[:, 0])


def test_calibrate_lowers_validation_nll_and_keeps_predictions(name: str) -> None:
    X, y = features_and_labels(10)
    X_val, y_val = features_and_labels(10, seed=1)
    head = HEADS[name]().fit(X, y, X_val, y_val)
    assert head.temperature_ == 1
    predictions, before = head.predict(X_val), _nll(head, X_val, y_val)
    assert head.calibrate(X_val, y_val) is head
    assert _nll(head, X_val, y_val) < before
    assert_array_equal(head.predict(X_val), predictions)
    temperature = head.temperature_
    assert head.calibrate(X_val, y_val).temperature_ == temperature
    assert head.fit(X, y).temperature_ == 1


def _nll(head: HeadBase, X: Array, y: Array) -> float:
    log_probabilities = log_softmax(head.logits(X) / head.temperature_, axis=1)
    return float(-log_probabilities[np.arange(len(y)), y].mean())


def test_classes_absent_from_validation_are_fine(name: str) -> None:
    X, y = features_and_labels(10)
    X_val, y_val = features_and_labels(10, seed=1)
    seen = y_val < 7
    head = HEADS[name]().fit(X, y, X_val[seen], y_val[seen]).calibrate(X_val[seen], y_val[seen])
    assert head.predict_proba(X).shape == (240, 10)


def test_classes_unknown_to_training_are_refused(name: str) -> None:
    X, y = features_and_labels(4)
    with pytest.raises(InputError, match=r"validation labels must be among the 4 classes of training, got \[7\]"):
        HEADS[name]().fit(X, y, X, np.where(y == 3, 7, y))
    with pytest.raises(InputError, match="among the 4 classes"):
        HEADS[name]().fit(X, y).calibrate(X, y + 4)


def test_validation_labels_alone_are_refused(name: str) -> None:
    X, y = features_and_labels(4)
    with pytest.raises(InputError, match="X_val and y_val must be given together, got no X_val"):
        HEADS[name]().fit(X, y, None, y)


@pytest.mark.parametrize("preprocessing", ["none", "standardize", "l2", "cl2n"])
@pytest.mark.parametrize("name", WITH_GRADIENTS, indirect=True)
def test_to_torch_gives_the_logits(name: str, preprocessing: str) -> None:
    import torch

    X, y = features_and_labels(10)
    head = HEADS[name]().set_params(preprocessing=preprocessing).fit(X, y)
    with torch.inference_mode():
        logits = head.to_torch()(torch.from_numpy(X)).numpy()
    assert logits.dtype == np.float32
    assert_allclose(logits, head.logits(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(HEADS) - set(WITH_GRADIENTS)), indirect=True)
def test_to_torch_is_refused_without_gradients(name: str) -> None:
    with pytest.raises(InputError, match=r"only heads with gradients \(mlp, prototype, linear\)"):
        HEADS[name]().to_torch()


@pytest.mark.parametrize("labels", ["int", "str", "object"])
def test_skops_round_trip_needs_no_foreign_trust(name: str, labels: str, tmp_path: Path) -> None:
    X, y = features_and_labels(4)
    y = y.astype({"int": np.int64, "str": np.str_, "object": object}[labels])
    y = np.array([f"class {label}" for label in y], dtype=object) if labels == "object" else y
    head = HEADS[name]().fit(X, y).calibrate(X, y)
    path = tmp_path / "head.skops"
    skops.io.dump(head, path)
    untrusted = skops.io.get_untrusted_types(file=path)
    assert untrusted
    assert all(kind.startswith("resnet_mlflow.heads.") for kind in untrusted)
    loaded = skops.io.load(path, trusted=untrusted)
    assert_array_equal(loaded.predict(X), head.predict(X))
    assert_array_equal(loaded.predict_proba(X), head.predict_proba(X))


LOAD_WITHOUT_ACCELERATOR = """
import sys
import numpy as np, skops.io

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("sklearnex", "daal4py", "onedal", "torch"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
for path in sys.argv[2:]:
    head = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    np.save(path + ".npy", head.logits(np.load(sys.argv[1])))
"""


def test_stored_heads_give_the_same_logits_without_accelerator_and_torch(tmp_path: Path) -> None:
    X, y = features_and_labels(10)
    X_test, _ = features_and_labels(10, seed=1)
    np.save(tmp_path / "X.npy", X_test)
    heads = {name: build().fit(X, y) for name, build in HEADS.items()}
    for name, head in heads.items():
        skops.io.dump(head, tmp_path / name)
    paths = [str(tmp_path / name) for name in heads]
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_ACCELERATOR, str(tmp_path / "X.npy"), *paths], check=True)
    for name, head in heads.items():
        assert_allclose(np.load(tmp_path / f"{name}.npy"), head.logits(X_test), rtol=0, atol=1e-12, err_msg=name)


def test_clone_and_params_survive(name: str) -> None:
    X, y = features_and_labels(4)
    head = HEADS[name]().fit(X, y)
    copy = clone(head)
    assert copy.get_params() == head.get_params()
    assert not hasattr(copy, "classes_")


def test_same_seed_gives_the_same_model_to_the_bit(name: str) -> None:
    X, y = features_and_labels(10)
    first, second = (HEADS[name]().fit(X, y).logits(X) for _ in range(2))
    assert_array_equal(first, second)


@pytest.mark.parametrize("name", WITH_EPOCHS, indirect=True)
def test_another_seed_gives_another_model(name: str) -> None:
    X, y = features_and_labels(10)
    first, second = (HEADS[name]().set_params(seed=seed).fit(X, y).logits(X) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_fit_leaves_the_global_random_states_alone(name: str) -> None:
    import torch

    X, y = features_and_labels(4)
    numpy_state, torch_state = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    HEADS[name]().fit(X, y)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(numpy_state, dict)
    assert isinstance(after, dict)
    assert_array_equal(numpy_state["state"]["key"], after["state"]["key"])
    assert torch.equal(torch_state, torch.get_rng_state())


def test_one_item_per_class_is_enough(name: str) -> None:
    X, y = features_and_labels(5, n_items=5)
    assert HEADS[name]().fit(X, y).predict(X).shape == (5,)


def test_one_class_is_refused(name: str) -> None:
    X, y = features_and_labels(2)
    with pytest.raises(InputError, match="at least two classes, got 1 class"):
        HEADS[name]().fit(X, np.zeros_like(y))


@pytest.mark.parametrize("name", WITH_CLASS_WEIGHT, indirect=True)
def test_class_weight_moves_predictions_to_the_rare_class(name: str) -> None:
    X, y = features_and_labels(2, n_items=400, noise=3.0)
    kept = (y == 0) | (np.arange(len(y)) % 20 == 1)
    X, y = X[kept], y[kept]
    X_test, y_test = features_and_labels(2, seed=1, noise=3.0)
    rare = y_test == 1
    recalls = [
        (
            HEADS[name]().set_params(class_weight=weight, preprocessing="none").fit(X, y).predict(X_test)[rare] == 1
        ).mean()
        for weight in (None, {0: 1.0, 1: 40.0})
    ]
    assert recalls[1] > recalls[0]


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({9: 1.0}, "must name classes of the training labels, got 9"),
        ({0: -1.0}, r"must be positive, got -1.0 for class 0"),
        ({0: "2"}, "must be positive, got '2' for class 0"),
    ],
)
def test_class_weight_of_wrong_kind_is_refused(class_weight: dict[int, Any], message: str) -> None:
    X, y = features_and_labels(2)
    with pytest.raises(InputError, match=message):
        SVMHead(class_weight=class_weight).fit(X, y)


def test_fit_temperature_meets_the_closed_form() -> None:
    # Two thirds right at logits of +-1: sigmoid(2 / T) = 2/3, so T = 2 / log(2).
    logits = np.array([[1.0, -1.0]] * 3)
    assert fit_temperature(logits, np.array([0, 0, 1])) == pytest.approx(2 / np.log(2), rel=1e-6)


def test_fit_temperature_is_bounded_without_errors() -> None:
    logits = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert 0.05 <= fit_temperature(logits, np.array([0, 1])) < 0.2
    assert fit_temperature(np.zeros((3, 2)), np.array([0, 1, 1])) == 1
