import subprocess
import sys

import pytest
import torch
from torch import nn

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.training.optimization import (
    build_optimizer,
    cross_entropy,
    divide_gradients,
    learning_rate_at,
    plateau_share,
)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_build_optimizer_exempts_biases_and_batchnorm_from_decay(optimizer):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decayed, exempt = build_optimizer(model, TrainingConfig(optimizer=optimizer, weight_decay=0.1)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert decayed["weight_decay"] == 0.1
    assert len(exempt["params"]) == 4
    assert exempt["weight_decay"] == 0


def test_build_optimizer_leaves_frozen_parameters_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(model, TrainingConfig()).param_groups
    assert group["params"] == [model.weight]
    model.weight.requires_grad_(False)
    with pytest.raises(InputError, match="at least one parameter with requires_grad, got none; unfreeze"):
        build_optimizer(model, TrainingConfig())


def test_build_optimizer_sgd_has_nesterov_momentum():
    (group, *_) = build_optimizer(nn.Linear(2, 2), TrainingConfig(optimizer="sgd")).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.9, True)


def rates(n_steps_per_epoch: int = 10, **options: object) -> list[float]:
    config = TrainingConfig(learning_rate=1.0, **options)
    return [learning_rate_at(step, n_steps_per_epoch, config, []) for step in range(n_steps_per_epoch * config.epochs)]


def test_learning_rate_warms_up_linearly_in_steps():
    assert rates(epochs=2, schedule="constant", warmup_epochs=0.5)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_learning_rate_cosine_falls_from_peak_towards_zero():
    cosine = rates(epochs=2, schedule="cosine")
    assert cosine[0] == 1
    assert cosine[10] == pytest.approx(0.5)
    assert 0 < cosine[-1] < 0.01
    assert cosine == sorted(cosine, reverse=True)


@pytest.mark.parametrize(("warmup_epochs", "peak"), [(0.0, 6), (1.0, 10)])
def test_learning_rate_one_cycle_rises_then_falls(warmup_epochs, peak):
    cycle = rates(epochs=2, schedule="one_cycle", warmup_epochs=warmup_epochs)
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle.index(max(cycle)) == peak
    assert cycle[peak] == 1
    assert cycle[-1] == pytest.approx(1 / 25 / 10_000)


def test_learning_rate_stays_defined_past_the_planned_steps():
    config = TrainingConfig(epochs=1, learning_rate=1.0)
    assert learning_rate_at(25, 10, config, []) == pytest.approx(0)


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_delta", "share"),
    [
        ([], 0, 0.0, 1.0),
        ([0.5, 0.5, 0.5], 0, 0.0, 1.0),
        ([0.5, 0.5, 0.5, 0.5], 0, 0.0, 0.1),
        ([0.5] * 7, 0, 0.0, 0.01),
        ([0.5, 0.6, 0.7, 0.8], 0, 0.2, 1.0),
        ([0.5, 0.55, 0.6, 0.65], 0, 0.2, 0.1),
        ([0.5, 0.5, 0.5], 4, 0.0, 0.1),
    ],
)
def test_plateau_share_drops_by_a_tenth_per_stale_stretch(accuracies, patience, min_delta, share):
    assert plateau_share(accuracies, patience, min_delta) == pytest.approx(share)


def test_learning_rate_plateau_follows_accuracies():
    config = TrainingConfig(epochs=9, learning_rate=1.0, schedule="plateau")
    assert learning_rate_at(40, 10, config, [0.5] * 4) == pytest.approx(0.1)


def test_cross_entropy_smooths_labels():
    """Probabilities 1/5 and 4/5; smoothing 0.2 over two classes makes the target 0.1 and 0.9."""
    logits = torch.tensor([[1.0, 4.0]]).log()
    expected = -(0.9 * torch.log(torch.tensor(0.8)) + 0.1 * torch.log(torch.tensor(0.2)))
    assert float(cross_entropy(0.2)(logits, torch.tensor([1]))) == pytest.approx(float(expected))


def test_divide_gradients_skips_parameters_without_one():
    with_gradient, without = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with_gradient.grad = torch.full((2,), 6.0)
    divide_gradients([with_gradient, without], 3)
    assert with_gradient.grad.tolist() == [2, 2]
    assert without.grad is None


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_build_optimizer_steps_as_the_one_of_torch_does(name):
    own, plain = (nn.Linear(4, 3) for _ in range(2))
    plain.load_state_dict(own.state_dict())
    options = TrainingConfig(optimizer=name, learning_rate=0.1, weight_decay=0.01)
    ours = build_optimizer(own, options)
    groups = [dict(group) for group in ours.param_groups]
    for group, parameter in zip(groups, (plain.weight, plain.bias), strict=True):
        group["params"] = [parameter]
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups)
    for model, optimizer in ((own, ours), (plain, theirs)):
        for scale in (1.0, -0.5, 2.0):
            optimizer.zero_grad()
            (model(torch.ones(2, 4)).sum() * scale).backward()
            optimizer.step()
    assert torch.equal(own.weight, plain.weight)
    assert torch.equal(own.bias, plain.bias)
    assert isinstance(ours, type(theirs))


def test_training_does_not_import_what_compiles():
    script = """
import sys
import torch
from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.training.finetuning import build_linear
from resnet_mlflow.training.optimization import build_optimizer
layer = build_linear(4, 2, 0)
optimizer = build_optimizer(layer, TrainingConfig())
layer(torch.ones(1, 4)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print(*{"torch._dynamo", "sympy"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.strip() == ""
