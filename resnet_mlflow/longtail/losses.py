"""Losses for long-tailed labels; each maps logits and labels to the batch's mean loss.

Weighted means are divided by the sum of weights in the batch, as in torch, so the scale of class weights does not
matter. A loss that changes over training has ``on_epoch``, which ``training.loop.fit`` calls with the epoch's number.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.weights import checked_counts, effective_weights

LDAM_SCALE = 30.0
DEFERRED_SHARE = 0.8  # share of epochs after which LDAM-DRW weights classes
DRW_BETA = 0.9999


class LongTailLoss(nn.Module):
    """Cross-entropy, with class weights if given; base class of the others.

    Args:
        weights: Class weights, of shape (n_classes,), or ``None``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
    """

    # Factor that turns cosines into logits, for losses on cosines; 0 for losses on logits.
    scale: float = 0.0
    weights: Tensor | None

    def __init__(self, weights: ArrayLike | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", None if weights is None else _tensor(weights))
        self.label_smoothing = label_smoothing

    def on_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 1."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, a scalar."""
        logits = _wide(logits)
        weights = None if self.weights is None else self.weights.to(logits)
        return functional.cross_entropy(logits, labels, weights, label_smoothing=self.label_smoothing)


class FocalLoss(LongTailLoss):
    """Cross-entropy times ``(1 - p_t) ** gamma``, where ``p_t`` is the probability of the true class.

    Args:
        gamma: Exponent, at least 0; 0 is cross-entropy.
        weights: Class weights, of shape (n_classes,), or ``None``; they do not affect ``p_t``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).

    References:
        Lin et al. (2017), Focal Loss for Dense Object Detection, equation 4.
    """

    def __init__(self, gamma: float = 1.0, weights: ArrayLike | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(weights, label_smoothing)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, a scalar."""
        logits = _wide(logits)
        of_truth = -functional.cross_entropy(logits, labels, reduction="none")
        # expm1 keeps 1 - p from rounding to a negative number; without the limit of 1e-12 the power's slope would be
        # infinite.
        doubt = (-torch.expm1(of_truth)).clamp_min(1e-12) ** self.gamma
        weights = None if self.weights is None else self.weights.to(logits)
        losses = functional.cross_entropy(
            logits, labels, weights, label_smoothing=self.label_smoothing, reduction="none"
        )
        total = len(labels) if weights is None else weights[labels].sum()
        return (doubt * losses).sum() / total


class OffsetLoss(LongTailLoss):
    """Cross-entropy on logits plus an offset per class; prediction does not use the offsets.

    Args:
        offsets: Offsets, of shape (n_classes,).
        weights: Class weights, of shape (n_classes,), or ``None``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
    """

    offsets: Tensor

    def __init__(self, offsets: ArrayLike, weights: ArrayLike | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(weights, label_smoothing)
        self.register_buffer("offsets", _tensor(offsets))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, a scalar."""
        logits = _wide(logits)
        return super().forward(logits + self.offsets.to(logits), labels)


class LDAMLoss(LongTailLoss):
    """Cross-entropy of scaled cosines, with a margin subtracted for the true class; weighted in the last epochs.

    The margin of class ``c`` is ``largest_margin * (n_c / n_min) ** (-1/4)``: the smallest class has the largest.
    From ``0.8 * n_epochs`` on, classes have their effective-number weights (deferred re-weighting).

    Args:
        counts: Training images by class, of shape (n_classes,).
        largest_margin: Largest margin on cosines, above 0.
        n_epochs: Number of training epochs.
        scale: Factor that turns cosines into logits.
        weights: Class weights, of shape (n_classes,), from the first epoch on, or ``None``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).

    References:
        Cao et al. (2019), Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, equation 13 and
        algorithm 1.
    """

    margins: Tensor

    def __init__(
        self,
        counts: ArrayLike,
        largest_margin: float = 0.5,
        n_epochs: int = 1,
        scale: float = LDAM_SCALE,
        weights: ArrayLike | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weights, label_smoothing)
        roots = checked_counts(counts) ** -0.25
        self.register_buffer("margins", _tensor(largest_margin * roots / roots.max()))
        self.scale = scale
        self.n_plain_epochs = int(DEFERRED_SHARE * n_epochs)
        self.early, self.deferred = self.weights, _tensor(effective_weights(counts, DRW_BETA))

    def on_epoch(self, epoch: int) -> None:
        """Weight the classes from the start of the last epochs."""
        late = self.deferred if self.early is None else self.deferred * self.early
        self.weights = late if epoch > self.n_plain_epochs else self.early

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss on cosines, a scalar."""
        logits = _wide(logits)
        margins = functional.one_hot(labels, logits.shape[1]) * self.margins.to(logits)
        return super().forward(self.scale * (logits - margins), labels)


def focal_loss(
    counts: ArrayLike,
    gamma: float = 1.0,
    weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    n_epochs: int = 1,
) -> FocalLoss:
    """Return the focal loss, which depends on neither class sizes nor the number of epochs."""
    return FocalLoss(gamma, weights, label_smoothing)


def balanced_softmax_loss(
    counts: ArrayLike, weights: ArrayLike | None = None, label_smoothing: float = 0.0, n_epochs: int = 1
) -> OffsetLoss:
    """Return the cross-entropy of ``logits + log n_c``.

    Args:
        counts: Training images by class, of shape (n_classes,).
        weights: Class weights, of shape (n_classes,), or ``None``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
        n_epochs: Number of training epochs; not used.

    References:
        Ren et al. (2020), Balanced Meta-Softmax for Long-Tailed Visual Recognition, equation 3.
    """
    return OffsetLoss(np.log(checked_counts(counts)), weights, label_smoothing)


def logit_adjusted_loss(
    counts: ArrayLike,
    tau: float = 1.0,
    weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    n_epochs: int = 1,
) -> OffsetLoss:
    """Return the cross-entropy of ``logits + tau * log prior``.

    Args:
        counts: Training images by class, of shape (n_classes,).
        tau: Strength; 0 is cross-entropy, 1 equals the balanced softmax.
        weights: Class weights, of shape (n_classes,), or ``None``.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
        n_epochs: Number of training epochs; not used.

    References:
        Menon et al. (2021), Long-tail Learning via Logit Adjustment, equation 10.
    """
    sizes = checked_counts(counts)
    return OffsetLoss(tau * np.log(sizes / sizes.sum()), weights, label_smoothing)


def ldam_loss(
    counts: ArrayLike,
    margin: float = 0.5,
    weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    n_epochs: int = 1,
) -> LDAMLoss:
    """Return LDAM's loss on cosines, weighted in the last epochs; arguments as for ``LDAMLoss``."""
    return LDAMLoss(counts, margin, n_epochs, weights=weights, label_smoothing=label_smoothing)


def build_loss(
    parts: Sequence[str],
    counts: ArrayLike,
    params: Mapping[str, float],
    n_epochs: int,
    label_smoothing: float = 0.0,
) -> LongTailLoss:
    """Return the loss of a method; cross-entropy for methods that act elsewhere.

    Args:
        parts: The combined methods, see ``selection.method_parts``; their weights and their loss are combined.
        counts: Training images by class, of shape (n_classes,).
        params: Hyperparameters by name; omitted ones have the method's default.
        n_epochs: Number of training epochs.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
    """
    methods = {(method := METHODS.find(part)).kind: method for part in parts}
    weights = None
    if weighting := methods.get("weighting"):
        weights = weighting.build(counts, **weighting.own(params))
    if "loss" not in methods:
        return LongTailLoss(weights, label_smoothing)
    row = methods["loss"]
    loss: LongTailLoss = row.build(
        counts, n_epochs=n_epochs, weights=weights, label_smoothing=label_smoothing, **row.own(params)
    )
    return loss


def default_params(parts: Sequence[str]) -> dict[str, float]:
    """Return the default of each hyperparameter of the methods, by name."""
    return {name: value for part in parts for name, value in METHODS[part].own({}).items()}


def _wide(logits: Tensor) -> Tensor:
    """Return mixed-precision logits in float32, so that offsets and weights are not rounded."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _tensor(values: ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))
