"""Fits any head on long-tailed features with any method, with hyperparameters chosen on validation data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.base import Array, HeadBase, Validation
from resnet_mlflow.longtail.adjusted import adjust
from resnet_mlflow.longtail.method import Kind, Method
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.posthoc import Curve, Params, mean_recall
from resnet_mlflow.longtail.schedule import LINEAR_EPOCHS, LINEAR_STEPS, enough_epochs
from resnet_mlflow.longtail.selection import hyperparameters, inapplicable, method_parts
from resnet_mlflow.longtail.weights import checked_counts, per_item_scale
from resnet_mlflow.registry.heads import HEADS

if TYPE_CHECKING:
    from resnet_mlflow.features.identity import FeatureSplit

# The best learning rate over all losses on standardized features; see docs/decisions/0010-long-tail-heads.md.
LINEAR_DEFAULTS: dict[str, Any] = {"solver": "sgd", "learning_rate": 0.02}
ONLY_LBFGS = ("C", "max_iter", "tol")


@dataclass(frozen=True)
class FitOptions:
    """Which hyperparameters are chosen, and how.

    Attributes:
        params: Fixed hyperparameters by name; the others are chosen on the method's grid.
        tune: Whether the others are chosen; if not, they have the method's default.
        base: A head fitted with ``none`` on the same data and seed, for methods that start from it.
    """

    params: Mapping[str, float] = field(default_factory=dict)
    tune: bool = True
    base: HeadBase | None = None


@dataclass(frozen=True)
class FittedMethod:
    """A head fitted with a method.

    Attributes:
        head: The fitted head.
        chosen: Its hyperparameters.
        curve: Each set of hyperparameters tried, with its balanced accuracy on validation data.
        val_score: Balanced accuracy of ``head`` on validation data.
    """

    head: HeadBase
    chosen: dict[str, float]
    curve: Curve
    val_score: float


def fit_method(
    method: str,
    head_name: str,
    head_params: Mapping[str, Any],
    splits: "Mapping[str, FeatureSplit]",
    seed: int,
    options: FitOptions | None = None,
) -> FittedMethod:
    """Return a head fitted on ``splits["train"]`` with a method, tuned by balanced accuracy on ``splits["val"]``.

    Args:
        method: Name of a method or a combination, see ``selection.parse_methods``.
        head_name: Name of a head. Linear and MLP heads are trained by gradient descent with every method, including
            ``none``, so that runs differ only in the method.
        head_params: The head's parameters; for ``linear``, those of its ``sgd`` solver.
        splits: Features of ``train``, with all classes, and of ``val``.
        seed: Seed of draws, order of items and initial weights.
        options: Fixed hyperparameters; by default, all are chosen on their grids.

    Raises:
        InputError: If the method does not apply to the head, a class has no training item, or a parameter of the head
            or the method is invalid.
    """
    options = options or FitOptions()
    reason = inapplicable(method, head_name)
    if reason:
        raise InputError(f"every method must apply to head {head_name}, got {method!r} ({reason}); leave it out")
    task = _Task(method, head_name, dict(head_params), splits, seed, options)
    candidates = [task.fit(params) for params in task.grid(task.fitted_parts)]
    best = max(candidates, key=lambda candidate: candidate.val_score)
    curve = [point for candidate in candidates for point in candidate.curve]
    return FittedMethod(best.head, best.chosen, curve, best.val_score)


class _Task:
    """One call of ``fit_method``: everything that is the same over the grid."""

    def __init__(
        self,
        method: str,
        head_name: str,
        head_params: dict[str, Any],
        splits: "Mapping[str, FeatureSplit]",
        seed: int,
        options: FitOptions,
    ) -> None:
        parts = method_parts(method)
        self.fitted_parts = tuple(part for part in parts if METHODS[part].kind not in ("none", "posthoc"))
        self.correction = next((part for part in parts if METHODS[part].kind == "posthoc"), None)
        self.head_name, self.seed, self.options = head_name, seed, options
        self.head_params = checked_head_params(head_name, head_params)
        self.features, self.labels = np.asarray(splits["train"].features), splits["train"].labels
        self.val: Validation = np.asarray(splits["val"].features), splits["val"].labels
        self.counts = np.bincount(self.labels, minlength=int(self.val[1].max()) + 1)
        checked_counts(self.counts)
        _check_params(method, options.params)

    def grid(self, parts: Iterable[str]) -> list[dict[str, float]]:
        """Return the sets of hyperparameters to try for the parts."""
        values: dict[str, Sequence[float]] = {}
        for part in parts:
            for name, rule in METHODS[part].hyperparameters.items():
                free = rule.grid if self.options.tune else (rule.default,)
                values[name] = (self.options.params[name],) if name in self.options.params else free
        return [dict(zip(values, point, strict=True)) for point in product(*values.values())]

    def fit(self, params: Params) -> FittedMethod:
        """Return the head fitted with one set of hyperparameters; post-hoc parameters are chosen here."""
        head = self._fit_head(params)
        if self.correction is None:
            score = mean_recall(np.asarray(self.val[1]), head.logits(self.val[0]).argmax(axis=1))
            return FittedMethod(head, dict(params), [(dict(params), score)], score)
        from resnet_mlflow.longtail.corrections import correct

        head, chosen, curve = correct(self.correction, head, self.counts, self.val, self.grid([self.correction]))
        points = [({**params, **point}, score) for point, score in curve]
        return FittedMethod(head, {**params, **chosen}, points, max(score for _, score in points))

    def _fit_head(self, params: Params) -> HeadBase:
        parts = self.fitted_parts
        if not parts and self.options.base is not None:
            return self.options.base
        if parts and METHODS[parts[0]].kind == "decoupled":
            return self._fit_decoupled(METHODS[parts[0]], params)
        features, labels = self._with_made_items(parts, params)
        if HEADS[self.head_name].has_epochs:
            return self._train(parts, params, features, labels)
        rows = self._rows_seen_once(parts, params, labels)
        return self._fit_once(parts, params, features[rows], labels[rows])

    def _fit_decoupled(self, method: Method, params: Params) -> HeadBase:
        from resnet_mlflow.longtail.decoupled import Stage2

        data = Stage2(self.features, self.labels, self.val, self.seed)
        head: HeadBase = method.build(self._base, data, **method.own(params))
        return head

    def _base(self) -> HeadBase:
        """Return the head fitted with ``none``."""
        return self.options.base or self._train((), {}, self.features, self.labels)

    def _with_made_items(self, parts: Sequence[str], params: Params) -> tuple[Array, NDArray[np.int64]]:
        """Return features and labels, including those that a method synthesises."""
        features, labels = self.features, self.labels
        for method in _of_kind(parts, "synthesis"):
            features, labels = method.build(features, labels, self.seed, **method.own(params))
        return features, labels

    def _rows_seen_once(self, parts: Sequence[str], params: Params, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows for a head that is fitted once: those of a first epoch, or those kept by resampling."""
        rows = np.arange(len(labels))
        for method in _of_kind(parts, "sampling"):
            rows = method.build(labels, self.counts, 1, self.seed, len(labels), **method.own(params))(1)
        for method in _of_kind(parts, "resampling"):
            rows = method.build(labels, self.seed, **method.own(params))
        return rows

    def _train(self, parts: Sequence[str], params: Params, features: Array, labels: NDArray[np.int64]) -> HeadBase:
        from resnet_mlflow.longtail.losses import build_loss
        from resnet_mlflow.longtail.networks import fit_on_loss
        from resnet_mlflow.longtail.samplers import build_row_sampler

        head: Any = build_head(self.head_name, self.head_params, self.seed)
        if self.head_name == "linear" and "epochs" not in self.head_params:
            head.set_params(epochs=enough_epochs(LINEAR_EPOCHS, LINEAR_STEPS, len(self.labels), head.batch_size))
        if any(METHODS[part].whole_schedule for part in parts):
            head.set_params(patience=0)
        drawn = tuple(part for part in parts if METHODS[part].kind != "synthesis")  # its items are already included
        rows = build_row_sampler(drawn, labels, len(self.counts), head.epochs, self.seed, len(self.labels), params)
        loss = build_loss(parts, self.counts, params, head.epochs)
        fitted: HeadBase = fit_on_loss(head, (features, labels), self.val, rows, loss, self.seed)
        return fitted

    def _fit_once(self, parts: Sequence[str], params: Params, features: Array, labels: NDArray[np.int64]) -> HeadBase:
        head = build_head(self.head_name, self.head_params, self.seed)
        for weighting in _of_kind(parts, "weighting"):
            weights = per_item_scale(weighting.build(self.counts, **weighting.own(params)), self.counts)
            if "class_weight" not in head.get_params():
                # A neighbour with w_c votes: the logarithm of the vote shifts by log w_c.
                return adjust(head.fit(features, labels), np.log(weights))
            head.set_params(class_weight=dict(enumerate(weights.tolist())))
        return head.fit(features, labels)


def _of_kind(parts: Iterable[str], kind: Kind) -> list[Method]:
    return [METHODS[part] for part in parts if METHODS[part].kind == kind]


def checked_head_params(head_name: str, head_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the head's parameters for the long tail; for a linear head, including those of gradient descent.

    Raises:
        InputError: If they set class weights, which is the method's role, or request L-BFGS for the linear head.

    Example:
        >>> checked_head_params("linear", {"epochs": 5})
        {'solver': 'sgd', 'learning_rate': 0.02, 'epochs': 5}
    """
    if head_params.get("class_weight") is not None:
        raise InputError(
            f"head_params must not set class_weight, because methods do, got {head_params['class_weight']!r}; "
            "write methods=reweight_inverse"
        )
    if head_name != "linear":
        return dict(head_params)
    for name in ONLY_LBFGS:
        if name in head_params:
            raise InputError(
                "the linear head must be trained with solver sgd for long-tail losses, got the L-BFGS parameter "
                f"{name!r}; for example learning_rate or weight_decay"
            )
    if head_params.get("solver", "sgd") != "sgd":
        raise InputError(
            "the linear head must be trained with solver sgd for long-tail losses, got "
            f"{head_params['solver']!r}; leave solver out"
        )
    return LINEAR_DEFAULTS | dict(head_params)


def _check_params(method: str, params: Mapping[str, float]) -> None:
    known = hyperparameters(method)
    for name, value in params.items():
        if name not in known:
            raise InputError(
                f"parameters of {method} must be among {', '.join(known) or 'none'}, got {name!r}; leave it out"
            )
        rule = known[name]
        if not rule.low <= value <= rule.high:
            raise InputError(
                f"{name} of {method} must be in [{rule.low:g}, {rule.high:g}], got {value:g}; for example "
                f"{rule.default:g}"
            )
