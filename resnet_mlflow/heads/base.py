"""What all heads share: validation, preprocessing, prediction from logits, and calibration by one temperature."""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.blocks import on_one_blas_thread, thread_per_block
from resnet_mlflow.heads.preprocessing import PREPROCESSINGS, apply_preprocessing, fit_preprocessing
from resnet_mlflow.registry.heads import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from resnet_mlflow.training.loop import EpochResult

Array = NDArray[Any]
Validation = tuple[Array, Array]

BLOCK_ROWS = 1024  # rows scored at once, so that memory does not grow with their number
PRECISIONS = [np.float64, np.float32]  # features keep theirs; anything else becomes float64
SHARPEST, SOFTEST = 1 / 20, 1e3  # range of the temperature, in standard deviations of the logits


class HeadBase(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier on features that derives every answer from ``logits``.

    A head implements ``_fit`` and ``_logits`` on preprocessed features and labels 0 to ``n_classes - 1``.
    Its fitted state consists of NumPy arrays and plain scikit-learn objects, so skops can store it without pickle.

    Attributes:
        classes_: The labels, sorted; columns of logits and probabilities follow their order.
        temperature_: Divisor of the logits before the softmax; 1 until ``calibrate``.
        temperature_bound_: ``low`` or ``high`` if the best temperature lies at that end of its range.
        offset_: Offset that preprocessing subtracts, of shape (n_features,).
        scale_: Scale that preprocessing divides by, of shape (n_features,).
    """

    # YAML: the space named after the head is searched by default; others are named ``head-suffix``.
    SEARCH_SPACES: ClassVar[str] = ""
    # Whether logits are log-probabilities up to a constant; others need a temperature before priors can be added.
    gives_log_probabilities: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"preprocessing": [StrOptions(set(PREPROCESSINGS))]}
    preprocessing: str
    class_weight: Any = None
    # Heads that train in epochs call it with the result of each epoch; an exception that it raises ends the training.
    on_epoch: "Callable[[EpochResult], None] | None" = None
    classes_: Array
    temperature_: float
    temperature_bound_: str
    offset_: Array
    scale_: Array

    def fit(self, X: ArrayLike, y: ArrayLike, X_val: ArrayLike | None = None, y_val: ArrayLike | None = None) -> Self:
        """Return the head, fitted.

        Args:
            X: Features, of shape (n_items, n_features).
            y: Labels, of shape (n_items,), of at least two classes.
            X_val: Features for early stopping; heads without early stopping only check them.
            y_val: Their labels; classes may be missing, but no new one may occur.

        Raises:
            InputError: If there are fewer than two classes, or ``y_val`` holds one that ``y`` does not.
        """
        return self._fit_checked(X, y, X_val, y_val, None)

    def logits(self, X: ArrayLike) -> Array:
        """Return scores of shape (n_items, n_classes); the highest is the predicted class."""
        check_is_fitted(self)
        features = self._check_features(X)
        with thread_per_block() as in_order:
            blocks = gen_batches(len(features), self._block_rows())
            return np.concatenate(list(in_order(lambda rows: self._logits(self._preprocess(features[rows])), blocks)))

    def predict(self, X: ArrayLike) -> Array:
        """Return the label with the highest logit of each item, the first one if tied; of shape (n_items,)."""
        winners = self.logits(X).argmax(axis=1)
        labels: Array = self.classes_[winners]
        return labels

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the softmax of ``logits / temperature_``, of shape (n_items, n_classes)."""
        probabilities: Array = softmax(self.logits(X) / self.temperature_, axis=1)
        return probabilities

    def logits_and_leads(self, X: ArrayLike) -> tuple[Array, Array]:
        """Return ``logits``, and how sure the head is of each class: both of shape (n_items, n_classes).

        Only the order of leads is meaningful: of two items, the head is surer of the one with the higher lead for its
        class. Leads are probabilities unless a head has a better measure.
        """
        logits = self.logits(X)
        return logits, softmax(logits / self.temperature_, axis=1)

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the logits; for two classes, their difference, of shape (n_items,), positive for the second."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def calibrate(self, X_val: ArrayLike, y_val: ArrayLike) -> Self:
        """Return the head with the ``temperature_`` that minimises the negative log-likelihood on validation data.

        Predictions do not change.

        References:
            Guo et al. (2017), On Calibration of Modern Neural Networks, section 4.2.
        """
        logits, labels = self.logits(X_val), self._label_indices(y_val)
        self.temperature_ = fit_temperature(logits, labels)
        self.temperature_bound_ = temperature_bound(logits, labels, self.temperature_)
        return self

    def to_torch(self) -> "nn.Module":
        """Return a module that maps features to logits, preprocessing included.

        Raises:
            InputError: If the head has no gradients.
        """
        others = ", ".join(name for name, head in HEADS.items() if head.has_gradients)
        raise InputError(
            f"only heads with gradients ({others}) can become torch modules, got {type(self).__name__}; choose one of "
            f"them"
        )

    def to_graph(self) -> "nn.Module":
        """Return a module that maps float32 features to ``logits_and_leads`` and can be exported.

        Raises:
            InputError: If the head has no such module.
        """
        from resnet_mlflow.heads.graphs import CalibratedLogits

        return CalibratedLogits(self._logits_graph(), self.temperature_)

    def _logits_graph(self) -> "nn.Module":
        """Return the part of ``to_graph`` that gives the logits; by default the module that has gradients."""
        if type(self).to_torch is HeadBase.to_torch:
            raise InputError(
                f"only heads with a graph can be exported, got {type(self).__name__}; give it to_torch or _logits_graph"
            )
        return self.to_torch()

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        raise NotImplementedError

    def _logits(self, X: Array) -> Array:
        raise NotImplementedError

    def _block_rows(self) -> int:
        return BLOCK_ROWS

    def _fit_checked(
        self, X: ArrayLike, y: ArrayLike, X_val: ArrayLike | None, y_val: ArrayLike | None, sample_weight: Any
    ) -> Self:
        self._validate_params()
        features: Array
        labels: Array
        features, labels = validate_data(self, X, y, dtype=PRECISIONS)
        check_classification_targets(labels)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
            counted = sample_weight > 0  # an item of weight 0 counts as absent
            features, labels, sample_weight = features[counted], labels[counted], sample_weight[counted]
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"labels must contain at least two classes, got {len(self.classes_)} class; add images")
        self.offset_, self.scale_ = fit_preprocessing(self.preprocessing, features, sample_weight)
        weights = self._item_weights(indices, sample_weight)
        validation = self._check_validation(X_val, y_val)
        with on_one_blas_thread():  # so that the result does not depend on the number of threads
            self._fit(self._preprocess(features), indices, weights, validation)
        self.temperature_ = 1.0
        return self

    def _item_weights(self, indices: Array, sample_weight: Array | None) -> Array | None:
        """Return sample weight times class weight, or ``None`` if neither is given."""
        if self.class_weight is None:
            return sample_weight
        _check_class_weight(self.class_weight, self.classes_)
        labels = self.classes_[indices]
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels, sample_weight=sample_weight)
        weights: Array = of_class[indices] * (1.0 if sample_weight is None else sample_weight)
        return weights

    def _check_validation(self, X_val: ArrayLike | None, y_val: ArrayLike | None) -> Validation | None:
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise InputError(f"X_val and y_val must be given together, got no {missing}; pass both or neither")
        return self._preprocess(self._check_features(X_val)), self._label_indices(y_val)

    def _label_indices(self, y: ArrayLike) -> Array:
        labels = np.asarray(y)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise InputError(
                f"validation labels must be among the {len(self.classes_)} classes of training, "
                f"got {unknown[:3].tolist()}; train on every class"
            )
        return np.searchsorted(self.classes_, labels)

    def _check_features(self, X: ArrayLike) -> Array:
        features: Array = validate_data(self, X, reset=False, dtype=PRECISIONS)
        return features

    def _preprocess(self, X: Array) -> Array:
        return apply_preprocessing(self.preprocessing, X, self.offset_, self.scale_)


class WeightedHead(HeadBase):
    """A head that accepts sample weights."""

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Return the head, fitted; see ``HeadBase.fit``.

        Args:
            X: Features, of shape (n_items, n_features).
            y: Labels, of shape (n_items,), of at least two classes.
            X_val: Features for early stopping; heads without early stopping only check them.
            y_val: Their labels; classes may be missing, but no new one may occur.
            sample_weight: At least 0, of shape (n_items,); 2 counts an item twice, 0 omits it.
        """
        return self._fit_checked(X, y, X_val, y_val, sample_weight)


def fit_temperature(logits: Array, labels: Array) -> float:
    """Return the temperature that minimises the negative log-likelihood of ``softmax(logits / T)``.

    Without any error on the validation data the optimum would be T = 0, so T is at least a twentieth of the logits'
    standard deviation.

    Args:
        logits: Logits, of shape (n_items, n_classes).
        labels: Columns of the true classes, of shape (n_items,).

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
        >>> round(2.0 / fit_temperature(logits, np.array([0, 0, 0, 1])), 4) == round(float(np.log(3)), 4)
        True
    """
    low, high = _temperature_range(logits)
    if low == 0:
        return 1.0
    of_log = partial(_log_loss, logits, labels)
    found = minimize_scalar(of_log, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def temperature_bound(logits: Array, labels: Array, temperature: float) -> str:
    """Return ``low`` or ``high`` if that end of the range is as good as the temperature found, else an empty string.

    Without errors the likelihood rises towards the lower end, and is flat to the last digit before it is reached.

    Args:
        logits: Logits, of shape (n_items, n_classes).
        labels: Columns of the true classes, of shape (n_items,).
        temperature: Result of ``fit_temperature``.

    Example:
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]])
        >>> [temperature_bound(logits, y, fit_temperature(logits, y)) for y in (np.array([0, 1]), np.array([1, 0]))]
        ['low', 'high']
    """
    low, high = _temperature_range(logits)
    if low == 0:
        return ""
    loss = _log_loss(logits, labels, np.log(temperature))
    ends = {"low": low, "high": high}
    return next((name for name, end in ends.items() if _log_loss(logits, labels, np.log(end)) <= loss), "")


def _temperature_range(logits: Array) -> tuple[float, float]:
    """Return the lowest and the highest temperature of calibration; 0 and infinity if all logits are equal."""
    spread = float(logits.std())
    return (spread * SHARPEST, spread * SOFTEST) if spread > 0 else (0.0, float("inf"))


def _log_loss(logits: Array, labels: Array, log_temperature: float) -> float:
    """Return the mean negative log-likelihood of ``softmax(logits / T)``."""
    temperature = np.exp(log_temperature)
    of_truth = logits[np.arange(len(labels)), labels]
    return float(np.mean(logsumexp(logits / temperature, axis=1) - of_truth / temperature))


def _check_class_weight(class_weight: Any, classes: Array) -> None:
    if not isinstance(class_weight, dict):
        return
    for label, weight in class_weight.items():
        if label not in classes:
            raise InputError(f"class_weight must name classes of the training labels, got {label!r}; remove it")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < np.inf:
            raise InputError(
                f"class_weight must be positive, got {weight!r} for class {label!r}; pass a number above 0"
            )
