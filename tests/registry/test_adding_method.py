"""A long-tail method is a function and a row: a loss added here goes through the command line, and nothing else."""

import numpy as np
import pytest

from resnet_mlflow.longtail.method import Hyperparameter, Method, trained_heads
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.tracking import find_runs


def root_softmax(counts, share=0.5, weights=None, label_smoothing=0.0, n_epochs=1):
    """Return the cross-entropy of ``logits + share * log n_c``."""
    from resnet_mlflow.longtail.losses import OffsetLoss

    return OffsetLoss(share * np.log(counts), weights, label_smoothing)


ROW = Method(
    "root_softmax",
    "loss",
    trained_heads("it replaces the loss of a head that is trained by gradient descent"),
    "this test",
    "test_adding_method:root_softmax",
    {"share": Hyperparameter(0.5, (0.25, 0.5), 0.0, 1.0)},
    removed="share",
)


def add() -> None:
    METHODS.add(ROW)


def longtail(*parameters: str) -> tuple[str, ...]:
    return ("entrypoints.longtail", "--imbalance_factor", "20", "--seeds", "0", *parameters)


def test_an_added_loss_goes_through_the_command_line(run_added):
    quick = longtail("--methods", "root_softmax,root_softmax+tau_norm", "--head_params", "{epochs: 3}")
    refused = run_added(__file__, *quick)
    assert refused.returncode == 2
    assert "must correct for class frequencies only once, got root_softmax and tau_norm" in refused.stderr
    ran = run_added(__file__, *longtail("--methods", "root_softmax", "--head_params", "{epochs: 3}"))
    assert ran.returncode == 0, ran.stderr
    assert "| root_softmax |" in ran.stdout
    (added,), (plain,) = (find_runs({"stage": "longtail", "method": name}) for name in ("root_softmax", "none"))
    assert added.data.tags["chosen.share"] in ("0.25", "0.5")
    assert added.data.metrics["test/nll"] != plain.data.metrics["test/nll"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (("--head", "svm"), "root_softmax applies to mlp, linear: it replaces the loss"),
        (("--head_params", "{C: 1}"), "the linear head must be trained with solver sgd"),
    ],
)
def test_an_added_loss_is_refused_where_it_does_not_apply(run_added, parameters, message):
    refused = run_added(__file__, *longtail("--methods", "root_softmax", *parameters))
    assert refused.returncode in (1, 2)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_whole_networks_are_trained_with_an_added_loss(run_added):
    ran = run_added(
        __file__,
        *longtail("--methods", "root_softmax", "--train_layers", "layer4", "--epochs", "1", "--image_size", "32"),
    )
    assert ran.returncode == 0, ran.stderr
    (added,), (plain,) = (find_runs({"stage": "longtail", "method": name}) for name in ("root_softmax", "none"))
    assert added.data.metrics["test/nll"] != plain.data.metrics["test/nll"]
