"""Training of the MLP head."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from resnet_mlflow.heads.mlp import MLPHead
from resnet_mlflow.heads.networks import hold_out


def rings(n_items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points on two circles around each other: no straight line parts them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_items) % 2
    angle = rng.uniform(0, 2 * np.pi, n_items)
    radius = (1 + labels + 0.1 * rng.normal(size=n_items))[:, np.newaxis]
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius, labels


def test_fit_learns_what_is_not_linear() -> None:
    X, y = rings(600, seed=0)
    head = MLPHead(hidden=64, learning_rate=1e-2).fit(X, y)
    assert head.score(*rings(200, seed=1)) > 0.95
    assert head.train_loss_[-1] < head.train_loss_[0]


def test_fit_stops_early_and_keeps_the_best_weights() -> None:
    X, y = rings(600, seed=0)
    X_val, y_val = rings(200, seed=1)
    head = MLPHead(hidden=64, learning_rate=1e-2, patience=3).fit(X, y, X_val, y_val)
    assert head.n_epochs_ < 50
    assert len(head.val_accuracy_) == len(head.train_loss_) == head.n_epochs_
    assert head.score(X_val, y_val) == pytest.approx(head.val_accuracy_.max())
    assert head.n_epochs_ - 1 - head.val_accuracy_.argmax() == 3


def test_fit_without_patience_trains_every_epoch_on_every_item() -> None:
    X, y = rings(600, seed=0)
    head = MLPHead(hidden=8, epochs=12, patience=0).fit(X, y)
    assert head.n_epochs_ == 12
    assert len(head.val_accuracy_) == 0


def test_fit_on_few_items_holds_none_out() -> None:
    X, y = rings(60, seed=0)
    assert len(MLPHead(hidden=8, epochs=3).fit(X, y).val_accuracy_) == 0


def test_hold_out_takes_a_tenth_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 14, 4])
    mask = hold_out(labels, seed=0)
    assert np.bincount(labels[mask], minlength=3).tolist() == [10, 1, 0]
    assert_array_equal(mask, hold_out(labels, seed=0))
    assert not np.array_equal(mask, hold_out(labels, seed=1))


def test_fit_gives_the_same_model_on_any_number_of_threads() -> None:
    import torch

    X, y = rings(600, seed=0)
    before, weights = torch.get_num_threads(), []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        weights.append(MLPHead(hidden=64, epochs=3).fit(X, y).hidden_weight_)
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(before)
    assert_array_equal(weights[0], weights[1])
