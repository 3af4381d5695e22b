"""Losses by hand, in their limits, and their gradients."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from resnet_mlflow.longtail.losses import (
    FocalLoss,
    LDAMLoss,
    LongTailLoss,
    OffsetLoss,
    balanced_softmax_loss,
    build_loss,
    logit_adjusted_loss,
)
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.weights import effective_weights, inverse_weights

COUNTS = [90, 30, 10]
LOSSES: dict[str, Callable[[], LongTailLoss]] = {
    "cross_entropy": LongTailLoss,
    "weighted": lambda: LongTailLoss(inverse_weights(COUNTS), label_smoothing=0.1),
    "focal": lambda: FocalLoss(2.0),
    "focal_below_1": lambda: FocalLoss(0.5, inverse_weights(COUNTS)),
    "ldam": lambda: LDAMLoss(COUNTS, scale=3.0),
    "balanced_softmax": lambda: balanced_softmax_loss(COUNTS),
    "logit_adjusted": lambda: logit_adjusted_loss(COUNTS, 0.7, inverse_weights(COUNTS)),
}


def batch(seed: int = 0, n_items: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_items, 3, generator=generator, dtype=torch.double), torch.arange(n_items) % 3


def loss_of(loss: LongTailLoss, logits: list[float], label: int) -> float:
    return float(loss(torch.tensor([logits], dtype=torch.double), torch.tensor([label])))


def test_weighted_cross_entropy_by_hand() -> None:
    # Cross-entropies log(1 + e^-2) and log(1 + e^2), weighing 0.5 and 1.5.
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]], dtype=torch.double)
    expected = (0.5 * math.log1p(math.exp(-2)) + 1.5 * math.log1p(math.exp(2))) / 2
    assert float(LongTailLoss([0.5, 1.5])(logits, torch.tensor([0, 1]))) == pytest.approx(expected)


def test_focal_loss_by_hand() -> None:
    p = 1 / (1 + math.exp(-2))
    assert loss_of(FocalLoss(2.0), [2.0, 0.0], 0) == pytest.approx(-((1 - p) ** 2) * math.log(p))


def test_focal_loss_takes_p_from_the_unweighted_cross_entropy() -> None:
    # A single item: its weight cancels in the weighted mean, and must not reach p.
    assert loss_of(FocalLoss(2.0, [0.1, 1.9]), [2.0, 0.0], 0) == pytest.approx(loss_of(FocalLoss(2.0), [2.0, 0.0], 0))


def test_ldam_loss_by_hand() -> None:
    # 16 ** (-1/4) = 1/2: margins 0.25 and 0.5. Cosines 0.6 and 0.2 become 30 * 0.35 and 30 * 0.2.
    loss = LDAMLoss([16, 1], largest_margin=0.5)
    assert loss.margins.tolist() == [0.25, 0.5]
    assert loss_of(loss, [0.6, 0.2], 0) == pytest.approx(math.log1p(math.exp(6 - 10.5)))
    assert loss_of(loss, [0.6, 0.2], 1) == pytest.approx(math.log1p(math.exp(18 + 9)))


def test_ldam_loss_defers_weights_to_the_last_fifth_of_the_epochs() -> None:
    loss = LDAMLoss(COUNTS, n_epochs=10)
    loss.on_epoch(8)
    assert loss.weights is None
    loss.on_epoch(9)
    assert loss.weights is not None
    np.testing.assert_allclose(loss.weights, effective_weights(COUNTS, 0.9999))
    loss.on_epoch(8)  # a resumed training may ask for epochs in any order
    assert loss.weights is None


def test_balanced_softmax_by_hand() -> None:
    assert loss_of(balanced_softmax_loss([3, 1]), [2.0, 0.0], 1) == pytest.approx(math.log1p(3 * math.exp(2)))


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 5000), min_size=3, max_size=3), seed=st.integers(0, 1000))
def test_limits_hold_for_any_counts(counts: list[int], seed: int) -> None:
    logits, labels = batch(seed)
    plain = functional.cross_entropy(logits, labels)
    assert torch.allclose(
        balanced_softmax_loss(counts)(logits, labels), logit_adjusted_loss(counts, 1.0)(logits, labels)
    )
    for loss in (logit_adjusted_loss(counts, 0.0), FocalLoss(0.0), LongTailLoss(), OffsetLoss([0.0] * 3)):
        assert torch.allclose(loss(logits, labels), plain)
    assert torch.allclose(LDAMLoss(counts, 0.0, scale=1.0)(logits, labels), plain)


@pytest.mark.parametrize("method", [name for name, rule in METHODS.items() if rule.kind in ("weighting", "loss")])
def test_build_loss_on_balanced_classes_is_cross_entropy_but_for_focus_and_margin(method: str) -> None:
    logits, labels = batch()
    loss = build_loss((method,), [40] * 3, {"gamma": 0.0, "margin": 0.0}, n_epochs=1)
    scale = 30 if method == "ldam_drw" else 1
    assert torch.allclose(loss(logits, labels), functional.cross_entropy(scale * logits, labels))


def test_build_loss_combines_weights_with_a_loss() -> None:
    logits, labels = batch()
    built = build_loss(("reweight_effective", "focal"), COUNTS, {"beta": 0.9, "gamma": 2.0}, n_epochs=1)
    expected = FocalLoss(2.0, effective_weights(COUNTS, 0.9))
    assert torch.allclose(built(logits, labels), expected(logits, labels))


def test_build_loss_has_the_protocols_defaults() -> None:
    focal, ldam = (build_loss((method,), COUNTS, {}, n_epochs=10) for method in ("focal", "ldam_drw"))
    assert isinstance(focal, FocalLoss)
    assert isinstance(ldam, LDAMLoss)
    assert focal.gamma == 1
    assert (ldam.scale, float(ldam.margins.max()), ldam.n_plain_epochs) == (30, 0.5, 8)
    effective = build_loss(("reweight_effective",), COUNTS, {}, n_epochs=1)
    np.testing.assert_allclose(effective.weights, effective_weights(COUNTS, 0.9999))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_right(name: str) -> None:
    logits, labels = batch()
    loss = LOSSES[name]()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_stay_finite_for_certain_answers(name: str) -> None:
    logits = torch.tensor([[80.0, 0.0, -80.0], [-80.0, 0.0, 80.0]], requires_grad=True)
    loss = LOSSES[name]()(logits, torch.tensor([0, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_compute_mixed_precision_in_float32(name: str) -> None:
    logits, labels = batch()
    short = logits.bfloat16()
    loss = LOSSES[name]()(short, labels)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, LOSSES[name]()(short.float(), labels))
