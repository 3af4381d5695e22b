"""The loss, the optimizers, and learning rates as a function of the step and of the validation scores so far.

A schedule keeps no state: a resumed training computes the same rates from the same history.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.config import TrainingConfig
from resnet_mlflow.errors import InputError

ONE_CYCLE_RISE = 0.3  # share of rising steps, if no warm-up is given
ONE_CYCLE_START = 1 / 25  # first rate relative to the peak
ONE_CYCLE_END = 1e-4  # last rate relative to the first
PLATEAU_FACTOR = 0.1
PLATEAU_PATIENCE = 3  # epochs, if training has no early stopping


def build_optimizer(model: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that require gradients.

    Vectors and scalars, that is, biases and BatchNorm's scales and shifts, have no weight decay.

    Args:
        model: The model; its frozen parameters have ``requires_grad=False``.
        options: Training options; ``optimizer``, ``learning_rate`` and ``weight_decay`` are read.

    Raises:
        InputError: If no parameter is to be trained.

    References:
        He et al. (2019), Bag of Tricks for Image Classification, section 3.1: no bias decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("training needs at least one parameter with requires_grad, got none; unfreeze a layer")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # Fused kernels halve the time per step of a small head; all parameters must be floating point.
    kind, more = OPTIMIZERS[options.optimizer]
    optimizer: torch.optim.Optimizer = kind(groups, lr=options.learning_rate, fused=True, **more)
    return optimizer


def _without_dynamo(kind: type[Any]) -> type[Any]:
    """Return an optimizer class that does not import ``torch._dynamo``, which takes 2 s: steps are never compiled here.

    torch wraps the methods of its optimizers to exclude them from compilation. Below are the unwrapped methods; the
    wrapper of ``step`` also turns gradients off.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


OPTIMIZERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "sgd": (_without_dynamo(torch.optim.SGD), {"momentum": 0.9, "nesterov": True}),
    "adam": (_without_dynamo(torch.optim.Adam), {}),
    "adamw": (_without_dynamo(torch.optim.AdamW), {}),
}


def cross_entropy(label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss: mean cross-entropy of logits and labels.

    Args:
        label_smoothing: Fraction of the target spread over all classes, in [0, 1).
    """
    return partial(functional.cross_entropy, label_smoothing=label_smoothing)


def divide_gradients(parameters: Iterable[nn.Parameter], n_images: int) -> None:
    """Turn gradients of a loss summed over images into those of its mean, in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(n_images)


def rate_setter(
    optimizer: torch.optim.Optimizer, options: TrainingConfig, steps_per_epoch: int, accuracies: Sequence[float]
) -> Callable[[int], None]:
    """Return a function that takes a step of the next epoch, from 0, and sets the optimizer's learning rate.

    Args:
        optimizer: The optimizer; all its groups get the same rate.
        options: As for ``learning_rate_at``.
        steps_per_epoch: Optimizer steps of one epoch.
        accuracies: Validation accuracy of the finished epochs, in [0, 1].
    """
    first = len(accuracies) * steps_per_epoch

    def set_rate(step: int) -> None:
        rate = learning_rate_at(first + step, steps_per_epoch, options, accuracies)
        for group in optimizer.param_groups:
            group["lr"] = rate

    return set_rate


def learning_rate_at(step: int, steps_per_epoch: int, options: TrainingConfig, accuracies: Sequence[float]) -> float:
    """Return the learning rate of one optimizer step.

    The rate rises linearly over the warm-up, then follows the schedule. ``one_cycle`` has its own rise, over 30 % of
    all steps, or over the warm-up if one is given.

    Args:
        step: Number of previous steps, from 0.
        steps_per_epoch: Optimizer steps of one epoch.
        options: Training options; ``schedule``, ``learning_rate``, ``warmup_epochs`` and ``epochs`` are read.
        accuracies: Validation accuracy of the finished epochs, in [0, 1]; ``plateau`` reads it.

    References:
        Loshchilov and Hutter (2017), SGDR, equation 5, one period. Smith and Topin (2018), Super-Convergence.

    Example:
        >>> options = TrainingConfig(epochs=4, warmup_epochs=1, learning_rate=1.0, schedule="cosine")
        >>> [round(learning_rate_at(step, 2, options, []), 2) for step in range(8)]
        [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    return options.learning_rate * _share_of_peak(step, steps_per_epoch, options, accuracies)


def _share_of_peak(step: int, steps_per_epoch: int, options: TrainingConfig, accuracies: Sequence[float]) -> float:
    n_steps = steps_per_epoch * options.epochs
    n_warmup = round(steps_per_epoch * options.warmup_epochs)
    if options.schedule == "one_cycle":
        return _one_cycle(step, n_steps, n_warmup or round(ONE_CYCLE_RISE * n_steps))
    if step < n_warmup:
        return (step + 1) / n_warmup
    if options.schedule == "cosine":
        return _cosine((step - n_warmup) / max(1, n_steps - n_warmup))
    if options.schedule == "plateau":
        return plateau_share(accuracies, options.patience, options.min_delta)
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _one_cycle(step: int, n_steps: int, n_rise: int) -> float:
    if step < n_rise:
        return 1 - (1 - ONE_CYCLE_START) * _cosine(step / n_rise)
    end = ONE_CYCLE_START * ONE_CYCLE_END
    return end + (1 - end) * _cosine((step - n_rise) / max(1, n_steps - 1 - n_rise))


def plateau_share(accuracies: Iterable[float], patience: int, min_delta: float) -> float:
    """Return the factor on the learning rate: a tenth for each stretch of epochs without improvement.

    Args:
        accuracies: One per finished epoch, in [0, 1].
        patience: Epochs without improvement before training stops; the rate drops after half as many, so that the lower
            rate has some epochs before the end. With 0 (no early stopping) it drops after 3.
        min_delta: Smallest gain over the best accuracy that counts, in [0, 1).

    Example:
        >>> plateau_share([0.5, 0.6, 0.6, 0.6, 0.6], patience=0, min_delta=0.0)
        0.1
    """
    wait = max(1, patience // 2) if patience else PLATEAU_PATIENCE
    best, n_stale, share = -math.inf, 0, 1.0
    for accuracy in accuracies:
        improved = accuracy > best + min_delta
        best, n_stale = (accuracy, 0) if improved else (best, n_stale + 1)
        if n_stale == wait:
            share, n_stale = share * PLATEAU_FACTOR, 0
    return share
