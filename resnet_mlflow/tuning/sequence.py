"""Trials one after the other in one process, which nobody shares and nobody continues."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


def try_in_turn(
    objective: Callable[["optuna.Trial"], float], n_trials: int, *, seed: int, first: Mapping[str, Any]
) -> None:
    """Call an objective with trials whose parameters TPE suggests towards higher values.

    Args:
        objective: Gives the value of a trial; what it raises ends the search.
        n_trials: How many.
        seed: Of what is suggested.
        first: Parameters of the first trial, by name.

    References:
        Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(dict(first))
    study.optimize(objective, n_trials)
