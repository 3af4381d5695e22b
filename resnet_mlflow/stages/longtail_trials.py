"""A method's hyperparameters searched by Optuna, each trial a nested run."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resnet_mlflow.longtail.fitting import FittedMethod
from resnet_mlflow.longtail.search import default_suggestion, suggest_params
from resnet_mlflow.longtail.selection import hyperparameters
from resnet_mlflow.stages.longtail_runs import MethodTask
from resnet_mlflow.tracking import TrialRun
from resnet_mlflow.tuning.sequence import try_in_turn

if TYPE_CHECKING:
    import optuna

Fit = Callable[[MethodTask, Mapping[str, float]], FittedMethod]


def search(parent_run_id: str, task: MethodTask, fit: Fit) -> FittedMethod:
    """Return the fitted method of the best trial by balanced validation accuracy, with all trials as its curve.

    The first trial has the method's defaults. A method without hyperparameters is fitted once, without trials.

    Args:
        parent_run_id: The method's run, the parent of the trials.
        task: The method; its configuration gives the number of trials.
        fit: Maps a task and hyperparameters to the fitted method.
    """
    if not hyperparameters(task.method):
        return fit(task, {})
    tried: list[FittedMethod] = []

    def score(trial: "optuna.Trial") -> float:
        tried.append(_run_trial(parent_run_id, task, fit, trial.number, suggest_params(task.method, trial)))
        return tried[-1].val_score

    try_in_turn(score, task.config.n_trials, seed=task.config.seed, first=default_suggestion(task.method))
    best = max(tried, key=lambda fitted: fitted.val_score)
    curve = [point for fitted in tried for point in fitted.curve]
    return FittedMethod(best.head, best.chosen, curve, best.val_score)


def _run_trial(
    parent_run_id: str, task: MethodTask, fit: Fit, number: int, params: Mapping[str, float]
) -> FittedMethod:
    tags = {"method": task.method, "head": task.config.head, "seed": task.config.seed, "trial": number}
    run = TrialRun(parent_run_id, f"trial {number} {task.method} s{task.config.seed}", task.inputs.tags | tags)
    try:
        fitted = fit(task, params)
    except BaseException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        run.end("failed" if isinstance(error, Exception) else "killed", params, reason)
        raise
    run.log_metrics({"val/balanced_accuracy": fitted.val_score, **{f"selection/{k}": v for k, v in params.items()}})
    run.end("complete", params)
    return fitted
