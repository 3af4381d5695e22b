"""One training loop for the MLP head, the linear head and whole networks.

``fit`` yields one result per epoch and is independent of logging. An epoch depends only on the weights, the seed and
its number, so a resumed training is bit-identical.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import raise_if_stopped
from resnet_mlflow.training.checkpoints import load_checkpoint, load_trained_state, save_checkpoint, trained_state
from resnet_mlflow.training.optimization import build_optimizer, divide_gradients, rate_setter
from resnet_mlflow.training.ranks import Ranks

if TYPE_CHECKING:  # importing it takes seconds, and heads train without it
    from lightning_fabric import Fabric

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]
Validate = Callable[[nn.Module], dict[str, float]]
LossFunction = Callable[[Tensor, Tensor], Tensor]

SHUFFLE, DROPOUT = range(2)  # streams of random numbers of one epoch
CHECK_LOSS_EVERY = 20  # steps; reading the loss stalls a GPU


@dataclass(frozen=True)
class EpochResult:
    """Result of one epoch; epochs count from 1.

    ``learning_rate`` is that of the last step. ``seconds`` covers training and validation, ``images_per_second``
    training alone. ``replayed`` marks an epoch that an earlier, interrupted call trained: its figures come from the
    checkpoint.
    """

    epoch: int
    train_loss: float
    learning_rate: float
    val_metrics: dict[str, float]
    seconds: float
    images_per_second: float
    improved: bool
    replayed: bool = False


def fit(
    model: nn.Module,
    batches: Batches,
    validate: Validate,
    options: TrainingConfig,
    *,
    loss_fn: LossFunction,
    n_batches: int,
    fabric: "Fabric | None" = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    seed: int = 0,
    on_epoch: Callable[[int], None] | None = None,
) -> Iterator[EpochResult]:
    """Train a model and yield one result per epoch; at the end, the model has its best weights, in eval mode.

    The best epoch has the highest validation accuracy, where gains up to ``min_delta`` do not count. With a checkpoint,
    the epochs that are already done come first, marked ``replayed``.

    Args:
        model: The model; trained in place on the device. Parameters without ``requires_grad`` stay fixed.
        batches: Maps an epoch number, from 1, to batches of (inputs, labels); must depend on nothing else.
        validate: Called with the model in eval mode, without gradients; returns at least ``accuracy`` in [0, 1].
        options: Training options; ``train_layers``, ``augmentation`` and ``label_smoothing`` are up to the caller.
        loss_fn: Maps (logits, labels) to the batch's mean loss, a scalar.
        n_batches: Batches per epoch; schedules use it.
        fabric: Device and precision; without it, the model trains on its own device and in its own precision.
        checkpoint: File that holds the finished epochs; ``None`` keeps none.
        fingerprint: Identifies configuration and data; a checkpoint with another one is ignored.
        seed: Seed of dropout. The global random state is neither read nor changed.
        on_epoch: Called with the epoch's number before it is trained, for losses that change over time.

    Raises:
        InputError: If the loss stops being finite, or the checkpoint cannot be written.
    """
    optimizer, ranks = build_optimizer(model, options), Ranks(fabric)
    # The weights are part of the network, which the first process sends to all.
    history, best, optimizer_state = ranks.from_first(_resume(model, checkpoint, fingerprint))
    module: nn.Module = model
    if fabric is not None:
        module, optimizer = fabric.setup(model, optimizer)
    if optimizer_state:
        optimizer.load_state_dict(optimizer_state)
    yield from history
    steps_per_epoch = math.ceil(n_batches / options.accumulate)
    while len(history) < options.epochs and not _is_exhausted(history, options.patience):
        raise_if_stopped()
        epoch, start = len(history) + 1, time.perf_counter()
        if on_epoch is not None:
            on_epoch(epoch)
        module.train()
        with _own_random_state(seed, epoch, next(model.parameters()).device):
            accuracies = [result.val_metrics["accuracy"] for result in history]
            set_rate = rate_setter(optimizer, options, steps_per_epoch, accuracies)
            train_loss, n_images = _train_epoch(module, optimizer, batches(epoch), set_rate, options, loss_fn, ranks)
        train_seconds = time.perf_counter() - start
        _check_finite(train_loss, epoch, options)
        module.eval()
        with torch.inference_mode():
            # All processes decide by the first one's numbers, since the last digits differ between processors.
            val_metrics = ranks.from_first(validate(module))
        _check_finite(val_metrics.get("loss", 0.0), epoch, options)
        improved = val_metrics["accuracy"] > _best_accuracy(history) + options.min_delta
        best = trained_state(model) if improved else best
        rate: float = optimizer.param_groups[0]["lr"]
        speed = n_images / train_seconds
        seconds = time.perf_counter() - start
        result = EpochResult(epoch, train_loss, rate, val_metrics, seconds, speed, improved)
        history.append(result)
        if checkpoint is not None and ranks.number == 0:
            _save(checkpoint, fingerprint, model, optimizer, history, best)
        yield result
    load_trained_state(model, best)
    model.eval()


def _train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    stream: Iterable[tuple[Tensor, Tensor]],
    set_rate: Callable[[int], None],
    options: TrainingConfig,
    loss_fn: LossFunction,
    ranks: Ranks,
) -> tuple[float, int]:
    """Return the mean loss over the images of one epoch, and their number, over all processes."""
    fabric = ranks.fabric
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    backward: Callable[[Tensor], None] = torch.Tensor.backward if fabric is None else fabric.backward
    total, n_images = torch.zeros((), device=trained[0].device), 0
    for step, group in enumerate(_groups(stream, options.accumulate)):
        set_rate(step)
        optimizer.zero_grad()
        n_group = 0
        for inputs, labels in group:
            if fabric is not None:
                inputs, labels = fabric.to_device((inputs, labels))
            loss, n_batch = loss_fn(module(inputs), labels), ranks.count(len(labels))
            # In an accumulated group, sums are added and then divided by its size, since the last group may be smaller.
            backward(_weighted(loss, len(labels), n_batch if options.accumulate == 1 else 1, ranks.n))
            total += loss.detach() * len(labels)
            n_group += n_batch
        if options.accumulate > 1:
            divide_gradients(trained, n_group)
        if options.gradient_clip > 0:
            nn.utils.clip_grad_norm_(trained, options.gradient_clip)
        optimizer.step()
        n_images += n_group
        if step % CHECK_LOSS_EVERY == 0 and not math.isfinite(float(ranks.sum(total))):
            break
    return float(ranks.sum(total)) / max(1, n_images), n_images


def _weighted(loss: Tensor, n_items: int, n_batch: int, n_ranks: int) -> Tensor:
    """Return the loss to differentiate: this process's share of the mean over a batch.

    Gradients are averaged over processes, hence the factor.
    """
    return loss if n_ranks == 1 and n_items == n_batch else loss * (n_items * n_ranks / n_batch)


def _groups(stream: Iterable[Any], size: int) -> Iterator[Iterable[Any]]:
    iterator = iter(stream)
    for first in iterator:
        yield chain([first], islice(iterator, size - 1))


def _check_finite(loss: float, epoch: int, options: TrainingConfig) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the loss must stay finite, got {loss} in epoch {epoch} "
            f"with learning_rate {options.learning_rate:g}; lower learning_rate or set gradient_clip"
        )


def _best_accuracy(history: list[EpochResult]) -> float:
    return max((result.val_metrics["accuracy"] for result in history if result.improved), default=-math.inf)


def _is_exhausted(history: list[EpochResult], patience: int) -> bool:
    return 0 < patience <= len(history) and not any(result.improved for result in history[-patience:])


def epoch_seed(seed: int, epoch: int, stream: int) -> int:
    """Return a seed that differs between epochs and between streams of one epoch.

    Example:
        >>> epoch_seed(0, 1, SHUFFLE) == epoch_seed(0, 1, SHUFFLE) != epoch_seed(0, 1, DROPOUT)
        True
    """
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _own_random_state(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed the generators that dropout uses for one epoch, and restore their state afterwards."""
    drawn = epoch_seed(seed, epoch, DROPOUT)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(drawn)
        if device.type == "cuda":
            torch.cuda.manual_seed(drawn)
        yield


def _save(
    path: Path,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: list[EpochResult],
    best: dict[str, Tensor],
) -> None:
    payload = {"fingerprint": fingerprint, "model": trained_state(model), "optimizer": optimizer.state_dict()}
    save_checkpoint(path, payload | {"best": best, "history": [asdict(result) for result in history]})


def _resume(
    model: nn.Module, checkpoint: Path | None, fingerprint: str
) -> tuple[list[EpochResult], dict[str, Tensor], dict[str, Any]]:
    """Return the finished epochs, the best weights and the optimizer's state; load the last weights."""
    payload = None if checkpoint is None else load_checkpoint(checkpoint, fingerprint)
    if payload is None:
        return [], {}, {}
    load_trained_state(model, payload["model"])
    history = [replace(EpochResult(**result), replayed=True) for result in payload["history"]]
    return history, payload["best"], payload["optimizer"]


def tensor_batches(features: Tensor, labels: Tensor, batch_size: int, seed: int) -> Batches:
    """Return a function that maps an epoch's number to shuffled batches of in-memory tensors.

    Args:
        features: Features, of shape (n_items, ...).
        labels: Labels, of shape (n_items,).
        batch_size: Items per batch; the last may be smaller.
        seed: Seed of the order, which differs between epochs.

    Example:
        >>> batches = tensor_batches(torch.arange(4.0), torch.arange(4), batch_size=3, seed=0)
        >>> [len(labels) for _, labels in batches(1)]
        [3, 1]
    """

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = shuffled_rows(len(labels), seed, epoch).to(labels.device)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield features.index_select(0, rows), labels.index_select(0, rows)

    return batches


def shuffled_rows(n_rows: int, seed: int, epoch: int) -> Tensor:
    """Return the rows 0 to ``n_rows - 1`` in the order of one epoch."""
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch, SHUFFLE))
    return torch.randperm(n_rows, generator=generator)
