"""Samplers, which choose the next trial, and pruners, which end poor ones early."""

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_mlflow.config import TuningConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.tuning.search_space import SearchSpace

if TYPE_CHECKING:
    import optuna

TRIAL = 3  # stream of random numbers, separate from those of training
# Median pruner: this many trials run to completion first, and every trial runs for this many epochs.
UNPRUNED_TRIALS, UNPRUNED_EPOCHS = 5, 3


def build_sampler(name: str, seed: int, number: int) -> "optuna.samplers.BaseSampler":
    """Return the sampler for the parameters of one trial.

    It is seeded by the trial's number, so that an interrupted and continued study gives the same suggestions as an
    uninterrupted one, and processes that share a study give different ones.

    Args:
        name: ``tpe``, ``random``, ``cmaes`` or ``gp``; points of ``grid`` are queued instead.
        seed: Seed of the study.
        number: Number of the trial.

    References:
        Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization: tpe. Hansen (2016), The CMA Evolution
        Strategy. Snoek et al. (2012), Practical Bayesian Optimization: gp.
    """
    from optuna import samplers

    of_trial = int(np.random.SeedSequence([seed, number, TRIAL]).generate_state(1)[0])
    if name == "cmaes":
        # Parameters that are not numbers, or are conditional, are left to tpe.
        other = samplers.TPESampler(seed=of_trial)
        return samplers.CmaEsSampler(seed=of_trial, independent_sampler=other, warn_independent_sampling=False)
    if name == "gp":
        other = samplers.TPESampler(seed=of_trial)
        return samplers.GPSampler(seed=of_trial, independent_sampler=other, warn_independent_sampling=False)
    return samplers.TPESampler(seed=of_trial) if name == "tpe" else samplers.RandomSampler(seed=of_trial)


def check_sampler(name: str, space: SearchSpace) -> None:
    """Refuse ``cmaes`` for a space with fewer than two numbers.

    Raises:
        InputError: If the space has fewer.
    """
    numbers = [key for key, parameter in space.parameters.items() if not parameter.choices and not parameter.when]
    if name == "cmaes" and len(numbers) < 2:
        raise InputError(
            f"sampler cmaes needs at least two numeric parameters, got {', '.join(numbers) or 'none'} in "
            f"search space {space.name}; pass sampler=tpe, or a search_space with ranges"
        )


def grid_points(space: SearchSpace, seed: int) -> list[dict[str, Any]]:
    """Return the points of the grid in random order, so that any first part covers the whole grid."""
    points = space.grid()
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


def build_pruner(config: TuningConfig, n_epochs: int) -> "optuna.pruners.BasePruner":
    """Return the pruner that ends poor trials early.

    Args:
        config: Configuration with its name.
        n_epochs: Maximum number of epochs of a trial; 0 if trials have no epochs.

    Raises:
        InputError: If a pruner is requested, but trials have no epochs.

    References:
        Golovin et al. (2017), Google Vizier, section 3.1: the median rule. Li et al. (2018), Hyperband.
    """
    from optuna import pruners

    may_prune = n_epochs > 0 and not config.cv_folds and config.second_objective == "none"
    if config.pruner in ("median", "hyperband") and not may_prune:
        raise InputError(
            f"pruner must be auto or none if trials have no epochs (mlp, linear with solver sgd and finetune have), "
            f"got {config.pruner!r}; leave it out"
        )
    if config.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=n_epochs)
    if config.pruner == "median" or (config.pruner == "auto" and may_prune):
        return pruners.MedianPruner(UNPRUNED_TRIALS, UNPRUNED_EPOCHS)
    return pruners.NopPruner()
