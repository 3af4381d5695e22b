import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.training.loop import EpochResult, Validate, epoch_seed, fit, shuffled_rows, tensor_batches
from resnet_mlflow.training.optimization import cross_entropy

N_ITEMS = 50


def build_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def build_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N_ITEMS) % 3
    return torch.randn(N_ITEMS, 8, generator=generator) + labels[:, None], labels


def build_validate() -> Validate:
    features, labels = build_data()

    def validate(model: nn.Module) -> dict[str, float]:
        logits = model(features)
        accuracy = (logits.argmax(dim=1) == labels).double().mean()
        return {"accuracy": float(accuracy), "loss": float(functional.cross_entropy(logits, labels))}

    return validate


def run(model, options, *, batch_size=10, stop_after=None, validate=None, loss_fn=None, **kwargs) -> list[EpochResult]:
    batches = tensor_batches(*build_data(), batch_size, seed=0)
    n_batches = -(-N_ITEMS // batch_size)
    loss_fn = loss_fn or cross_entropy()
    results = fit(model, batches, validate or build_validate(), options, loss_fn=loss_fn, n_batches=n_batches, **kwargs)
    return list(islice(results, stop_after))


def without_times(results: list[EpochResult]) -> list[EpochResult]:
    return [replace(result, seconds=0.0, images_per_second=0.0, replayed=False) for result in results]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


RESUMABLE = [
    {"optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 1.5},
    {"optimizer": "sgd", "schedule": "one_cycle", "accumulate": 2},
    {"optimizer": "adam", "schedule": "plateau", "min_delta": 0.2, "gradient_clip": 0.5},
]


@pytest.mark.parametrize("options", RESUMABLE, ids=lambda options: options["schedule"])
def test_fit_resumed_equals_undisturbed_to_the_bit(tmp_path, options):
    options = TrainingConfig(epochs=6, learning_rate=0.02, **options)
    undisturbed, resumed = build_network(), build_network()
    expected = run(undisturbed, options)
    run(build_network(), options, stop_after=3, checkpoint=tmp_path / "c.pt", fingerprint="f")
    torch.rand(7)  # the global random state moves on; it must not matter
    got = run(resumed, options, checkpoint=tmp_path / "c.pt", fingerprint="f")
    assert without_times(got) == without_times(expected)
    assert [result.replayed for result in got] == [True] * 3 + [False] * 3
    assert_same_weights(resumed, undisturbed)


def test_fit_killed_and_resumed_equals_undisturbed_to_the_bit(tmp_path):
    checkpoint = tmp_path / "c.pt"
    options = TrainingConfig(epochs=6, learning_rate=0.02)
    child = subprocess.run([sys.executable, __file__, str(checkpoint)], timeout=120, check=False)
    assert child.returncode == -signal.SIGKILL
    undisturbed, resumed = build_network(), build_network()
    expected = run(undisturbed, options)
    got = run(resumed, options, checkpoint=checkpoint, fingerprint="f")
    assert [result.replayed for result in got] == [True] * 3 + [False] * 3
    assert without_times(got) == without_times(expected)
    assert_same_weights(resumed, undisturbed)


def train_until_killed(checkpoint: Path) -> None:
    def die_in_the_fourth(epoch: int) -> None:
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    options = TrainingConfig(epochs=6, learning_rate=0.02)
    run(build_network(), options, checkpoint=checkpoint, fingerprint="f", on_epoch=die_in_the_fourth)


def test_fit_finished_is_replayed_without_training(tmp_path):
    options = TrainingConfig(epochs=3, learning_rate=0.02)
    first, again = build_network(), build_network()
    expected = run(first, options, checkpoint=tmp_path / "c.pt")
    got = run(again, options, checkpoint=tmp_path / "c.pt", on_epoch=lambda epoch: pytest.fail("trained again"))
    assert without_times(got) == without_times(expected)
    assert_same_weights(first, again)


def test_fit_ignores_and_names_damaged_checkpoint(tmp_path, caplog):
    checkpoint, options = tmp_path / "c.pt", TrainingConfig(epochs=2)
    expected = run(build_network(), options, checkpoint=checkpoint)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    got = run(build_network(), options, checkpoint=checkpoint)
    assert without_times(got) == without_times(expected)
    assert not any(result.replayed for result in got)
    assert f"{checkpoint} is damaged" in caplog.text


def test_fit_ignores_checkpoint_of_another_configuration(tmp_path, caplog):
    options = TrainingConfig(epochs=2)
    run(build_network(), options, checkpoint=tmp_path / "c.pt", fingerprint="one")
    got = run(build_network(), options, checkpoint=tmp_path / "c.pt", fingerprint="other")
    assert not any(result.replayed for result in got)
    assert "another configuration" in caplog.text


def test_fit_leaves_global_random_state_alone():
    state = torch.get_rng_state()
    expected = without_times(run_with_state(0))
    torch.set_rng_state(state)
    results = fit_in_generator(build_network())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    next(results)
    assert torch.equal(torch.get_rng_state(), before)
    assert without_times(run_with_state(99)) == expected


def run_with_state(seed: int) -> list[EpochResult]:
    model = build_network()
    torch.manual_seed(seed)
    return run(model, TrainingConfig(epochs=2))


def fit_in_generator(model: nn.Module):
    batches = tensor_batches(*build_data(), 10, seed=0)
    return fit(model, batches, build_validate(), TrainingConfig(epochs=2), loss_fn=cross_entropy(), n_batches=5)


def test_fit_seed_changes_dropout():
    options = TrainingConfig(epochs=1)
    one, other = (run(build_network(), options, seed=seed)[0].train_loss for seed in (0, 1))
    assert one != other


def test_fit_keeps_best_weights_and_stops_after_patience():
    accuracies = iter([0.5, 0.8, 0.805, 0.79, 0.9])
    seen: list[Tensor] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(model[0].weight.detach().clone())
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"accuracy": next(accuracies)}

    model = build_network()
    options = TrainingConfig(epochs=5, patience=2, min_delta=0.01)
    results = run(model, options, validate=validate)
    assert [result.improved for result in results] == [True, True, False, False]
    assert torch.equal(model[0].weight, seen[1])
    assert not model.training


@pytest.mark.parametrize("batch_size", [10, 20])
def test_fit_accumulated_group_equals_one_large_batch(batch_size):
    """50 items in groups of 40: batches of 20 give groups of 20+20 and 10, all as two batches of 40 and 10."""
    accumulated, plain = nn.Linear(8, 3), nn.Linear(8, 3)
    plain.load_state_dict(accumulated.state_dict())
    options = TrainingConfig(epochs=2, optimizer="sgd", learning_rate=0.1, gradient_clip=1.0)
    grouped = options.model_copy(update={"accumulate": 40 // batch_size})
    got = run(accumulated, grouped, batch_size=batch_size)
    expected = run(plain, options, batch_size=40)
    assert [r.train_loss for r in got] == pytest.approx([r.train_loss for r in expected], rel=1e-5)
    torch.testing.assert_close(accumulated.weight, plain.weight)


def test_fit_clips_gradients():
    """One step of plain descent moves by the learning rate times the clipped norm."""
    model = nn.Linear(8, 3, bias=False)
    before = model.weight.detach().clone()
    options = TrainingConfig(epochs=1, optimizer="sgd", learning_rate=1.0, gradient_clip=0.01, weight_decay=0)
    run(model, options, batch_size=N_ITEMS)
    # Nesterov's first step is gradient + momentum * gradient.
    assert float((model.weight - before).detach().norm()) == pytest.approx(0.01 * 1.9, rel=1e-3)


def test_fit_reports_mean_loss_over_images():
    model = nn.Linear(8, 3)
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()
    options = TrainingConfig(epochs=1, optimizer="sgd", learning_rate=1e-9)
    (result,) = run(model, options, batch_size=7)
    assert result.train_loss == pytest.approx(torch.log(torch.tensor(3.0)).item(), rel=1e-6)  # log of 3 classes
    assert result.images_per_second > 0


def test_fit_refuses_non_finite_loss():
    def explode(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels) * float("nan")

    with pytest.raises(InputError, match=r"finite, got nan in epoch 1 with learning_rate 50; lower learning_rate"):
        run(build_network(), TrainingConfig(learning_rate=50), loss_fn=explode)


def test_fit_refuses_weights_that_the_last_step_ruined():
    def validate(model: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.1, "loss": float("inf")}

    with pytest.raises(InputError, match="finite, got inf in epoch 1"):
        run(build_network(), TrainingConfig(), validate=validate)


def test_fit_learning_rate_follows_warmup_and_schedule():
    options = TrainingConfig(epochs=3, warmup_epochs=2, learning_rate=0.1, schedule="constant")
    assert [r.learning_rate for r in run(nn.Linear(8, 3), options)] == pytest.approx([0.05, 0.1, 0.1])


def test_fit_without_fabric_does_not_import_it():
    script = "import sys, resnet_mlflow.training.loop; sys.exit('lightning_fabric' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_fit_leaves_frozen_parameters_out_of_checkpoint(tmp_path):
    model = build_network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    run(model, TrainingConfig(epochs=1, learning_rate=0.1), checkpoint=tmp_path / "c.pt")
    body = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "body.pt").write_bytes(body)
    payload = torch.load(tmp_path / "body.pt", weights_only=True)
    assert "0.weight" not in payload["model"]
    assert "0.bias" in payload["model"]
    assert torch.equal(model[0].weight, before)


def test_tensor_batches_depend_on_seed_and_epoch_alone():
    batches = tensor_batches(torch.arange(10), torch.arange(10), batch_size=4, seed=5)
    first, again, second = (torch.cat([labels for _, labels in batches(epoch)]) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert sorted(second.tolist()) == list(range(10))
    assert torch.equal(first, shuffled_rows(10, seed=5, epoch=1))


def test_epoch_seed_differs_between_seeds_epochs_and_streams():
    seeds = {epoch_seed(seed, epoch, stream) for seed in range(5) for epoch in range(5) for stream in range(3)}
    assert len(seeds) == 75


if __name__ == "__main__":
    train_until_killed(Path(sys.argv[1]))
