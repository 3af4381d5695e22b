"""Sequential trials in one process, neither shared nor continued."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


def try_in_turn(
    objective: Callable[["optuna.Trial"], float], n_trials: int, *, seed: int, first: Mapping[str, Any]
) -> None:
    """Maximise an objective over trials with parameters suggested by TPE.

    Args:
        objective: Returns the value of a trial; an exception that it raises ends the search.
        n_trials: Number of trials.
        seed: Seed of the suggestions.
        first: Parameters of the first trial, by name.

    References:
        Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(dict(first))
    study.optimize(objective, n_trials)
