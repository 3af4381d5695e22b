"""A method's hyperparameters searched by Optuna, each trial a nested run."""

from collections.abc import Callable, Mapping

from resnet_mlflow.longtail.fitting import FittedMethod
from resnet_mlflow.longtail.methods import hyperparameters
from resnet_mlflow.stages.longtail_runs import MethodTask
from resnet_mlflow.tracking import stage_run

Fit = Callable[[MethodTask, Mapping[str, float]], FittedMethod]


def search(task: MethodTask, fit: Fit) -> FittedMethod:
    """Return the fitted method of the best trial by balanced accuracy on validation, with all trials as its curve.

    The first trial has the method's defaults. A method without hyperparameters is fitted once, without trials.

    Args:
        task: The method; its configuration says how many trials there are.
        fit: Task and hyperparameters to the fitted method.
    """
    rules = hyperparameters(task.method)
    if not rules:
        return fit(task, {})
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=task.config.seed))
    study.enqueue_trial({name: rule.default for name, rule in rules.items()})
    ranges: dict[str, BaseDistribution] = {name: FloatDistribution(rule.low, rule.high) for name, rule in rules.items()}
    tried: list[FittedMethod] = []
    for _ in range(task.config.n_trials):
        trial = study.ask(ranges)
        tried.append(_run_trial(task, fit, trial.number, trial.params))
        study.tell(trial, tried[-1].val_score)
    best = max(tried, key=lambda fitted: fitted.val_score)
    curve = [point for fitted in tried for point in fitted.curve]
    return FittedMethod(best.head, best.chosen, curve, best.val_score)


def _run_trial(task: MethodTask, fit: Fit, number: int, params: Mapping[str, float]) -> FittedMethod:
    name = f"trial {number} {task.method} s{task.config.seed}"
    tags = {"method": task.method, "seed": task.config.seed, "trial": number, "features_key": task.inputs.features_key}
    tags |= {f"chosen.{key}": f"{value:g}" for key, value in params.items()}
    with stage_run("trial", task.config, name, task.inputs.tags | tags) as run:
        fitted = fit(task, params)
        run.log_metrics({"val/balanced_accuracy": fitted.val_score, **{f"selection/{k}": v for k, v in params.items()}})
    return fitted
