"""A stage's run as a study: trials below it, then the best parameters on the run itself."""

import json
import logging
import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, TuningConfig
from resnet_mlflow.review import RunFacts
from resnet_mlflow.stages.preparation import Inputs, digest_of
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.stages.reviewing import review_run
from resnet_mlflow.stages.trials import Trials
from resnet_mlflow.tracking import StageRun, connect, finish_run, get_run, leave_launched_run, stage_run, store_uri
from resnet_mlflow.tuning.edges import searched_numbers
from resnet_mlflow.tuning.figures import write_study_figures
from resnet_mlflow.tuning.objective import Objective
from resnet_mlflow.tuning.samplers import build_pruner, check_sampler
from resnet_mlflow.tuning.search_space import SearchSpace
from resnet_mlflow.tuning.shared_study import RUN_ID, SharedStudy, Task, is_killed
from resnet_mlflow.tuning.storage import SharedStorage, open_storage

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

Tuned = FitHeadConfig | FinetuneConfig


@dataclass(frozen=True)
class Search:
    """A stage's description of its study.

    Attributes:
        stage: Value of the run's ``stage`` tag: that of the entry point, or of a part.
        config: The given configuration.
        inputs: Inputs of the stage.
        method: The head, or ``finetune``.
        name: Name of the run.
        tags: Tags of the run and of every trial's run.
        prefix: Prefix of parameter names in runs.
        space: Search space.
        defaults: The method's parameters without a search.
        n_epochs: Maximum number of epochs of a trial; 0 if it has none.
        prepare: Maps the parent run to the objective of trials.
        conclude: Maps the parent run and the best parameters to the scores of the stage.
    """

    stage: str
    config: Tuned
    inputs: Inputs
    method: str
    name: str
    tags: Mapping[str, object]
    prefix: str
    space: SearchSpace
    defaults: Mapping[str, Any]
    n_epochs: int
    prepare: Callable[[StageRun], Objective]
    conclude: Callable[[StageRun, dict[str, Any]], Outcome]


def run_search(search: Search) -> Outcome:
    """Run the remaining trials, and return the scores of the best trial's parameters.

    Processes started with the same configuration share the study and its run; a late one finds it done.

    Raises:
        InputError: If the study cannot be opened, or no trial completes.
    """
    config = search.config
    check_sampler(config.sampler, search.space)
    pruner = build_pruner(config, search.n_epochs)
    connect()
    task = _task(search)
    study = SharedStudy(task, config, open_study_storage(config, search.inputs, task.name), pruner)
    with ExitStack() as stack:
        with study.lock("parent"):
            if study.is_complete() and (finished := finished_before(study)) is not None:
                return finished
            run = enter_shared_run(stack, study, search.stage, search.name, search.tags)
        trials = Trials(study, search.prepare(run), run.run_id, search.prefix, _trial_tags(search), _trial_logger(run))
        trials.run()
        with study.lock("conclusion"):
            if study.is_concluded:  # Another process was first; it has logged everything.
                return outcome_of(run.run_id)
            outcome = _conclude(run, search, study, trials.overheads_s)
            study.set_concluded(run.run_id)
    return outcome


def enter_shared_run(
    stack: ExitStack, study: SharedStudy, stage: str, name: str, tags: Mapping[str, object]
) -> StageRun:
    """Return the run that all processes of a study work on, created by the first of them; call it under a lock.

    It is left with the stack, and ends only if no other process works on it. A run that has been evaluated is closed:
    further trials of its study get a new parent.
    """
    known = {"study_name": study.task.name, "study_storage": study.storage.place}
    if study.is_concluded:
        known["continues"] = str(study.concluded_run_id)
    earlier = None if study.is_concluded else study.parent_run_id
    run = stack.enter_context(stage_run(stage, study.config, name, {**tags, **known}, resume=earlier))
    if run.run_id != study.parent_run_id:
        study.set_parent(run.run_id)
    run.others_at_work = study.others_at_work
    return run


def _trial_logger(run: StageRun) -> Callable[[str], None]:
    # A study's terminal shows cells, not trials.
    return logger.debug if run.nested else logger.info


def _task(search: Search) -> Task:
    config, inputs = search.config, search.inputs
    identity = {
        "method": search.method,
        "given": search.space.given,
        "dataset_digest": inputs.dataset.digest,
        "features_key": inputs.features_key,
        "val_fraction": config.val_fraction,
        "seed": config.seed,
        "objective": config.objective,
        "second_objective": config.second_objective,
        "cv_folds": config.cv_folds,
        **({"calibration_fraction": config.calibration_fraction} if config.calibration_fraction else {}),
        **inputs.grouping,
    }
    if isinstance(config, FinetuneConfig):
        names = FinetuneConfig.model_fields.keys() & search.defaults.keys() - search.space.parameters.keys()
        identity["training"] = {name: getattr(config, name) for name in sorted(names)}
    if inputs.part is not None:
        identity |= {"part": inputs.part.stage, "split_ids": dict(inputs.identity.split_ids)}
    # A study without its own name belongs to one command: parameters that stop or steer it are part of the name.
    steering = {name: getattr(config, name) for name in ("n_trials", "sampler", "pruner", "timeout_s", "target")}
    key = digest_of({**identity, **steering, "store": store_uri()})[:8]
    name = config.study_name or f"{search.method} {config.backbone} {inputs.dataset.short_name} s{config.seed}"
    if not config.study_name or inputs.part is not None:  # A name covers the studies of all folds.
        name = f"{inputs.name_of(name)} {key}"
    return Task(name, search.space, search.defaults, identity, search.n_epochs)


def open_study_storage(config: TuningConfig, inputs: Inputs, name: str) -> SharedStorage:
    """Return the storage of a study: the requested one, else a journal in the cache folder.

    Raises:
        InputError: If it cannot be reached.
    """
    file_name = f"{digest_of({'study': name, 'store': store_uri()})}.journal"
    return open_storage(config.storage, inputs.cache_dir / "studies" / file_name, config.heartbeat_s)


def finished_before(study: SharedStudy) -> Outcome | None:
    """Return the scores of the run that a study was evaluated on, if there is one in this tracking store."""
    run_id = study.concluded_run_id
    if run_id is None or not finish_run(run_id):
        return None
    leave_launched_run(run_id)
    logger.info("tuning %r is already finished: run %s", study.task.name, run_id)
    return outcome_of(run_id)


def outcome_of(run_id: str) -> Outcome:
    """Return the scores of a run as they were logged."""
    return Outcome(run_id, dict(get_run(run_id).data.metrics))


def _trial_tags(search: Search) -> dict[str, object]:
    # Tags that identify a trial's run; the others are on its parent.
    names = ("dataset", "dataset_digest", "weights", "features_key", "backbone", "head", "seed")
    known = {**search.inputs.tags, **search.tags}
    return {name: known[name] for name in names if name in known} | {"method": search.method}


def _conclude(run: StageRun, search: Search, study: SharedStudy, overheads_s: list[float]) -> Outcome:
    """Refit and evaluate the best parameters, then log the results of the study."""
    best = study.best_trial()
    chosen = {**search.space.given, **best.params}
    run.set_tags(
        {
            "best_trial": best.number,
            "best_trial_run_id": best.user_attrs[RUN_ID],
            "best_value": best.values[0],
            "best_params": json.dumps(best.params),
        }
    )
    outcome = search.conclude(run, chosen)
    review_run(run, _facts(search, study, chosen, outcome))
    _log_study(run, study, best, overheads_s)
    return outcome


def _facts(search: Search, study: SharedStudy, chosen: Mapping[str, Any], outcome: Outcome) -> RunFacts:
    on_grid = search.config.sampler == "grid"
    n_val = len(outcome.evaluations["val"].labels)
    return RunFacts(
        searched=tuple(searched_numbers(search.space, search.method, chosen, on_grid=on_grid)),
        n_trials=count_states(study.trials())["complete"],
        n_judged_on=outcome.n_train if search.config.cv_folds else n_val,
        val_accuracy=outcome.metrics["val/accuracy"],
    )


def _log_study(run: StageRun, study: SharedStudy, best: "FrozenTrial", overheads_s: list[float]) -> None:
    config, trials = study.config, study.trials()
    counts = count_states(trials)
    metrics = {f"tuning/n_{state}": float(count) for state, count in counts.items()}
    metrics["tuning/best_value"] = best.values[0]
    if overheads_s:
        metrics["time/trial_overhead_s"] = statistics.median(overheads_s)
    run.log_metrics(metrics)
    content = {
        "study_name": study.task.name,
        "storage": study.storage.place,
        "space": study.task.space.as_dict(),
        "best_trial": best.number,
        "best_params": best.params,
        "trials": [_as_row(trial) for trial in trials],
    }
    run.log_json(content, "tuning/study.json")
    measured = "cv" if config.cv_folds else "val"
    with run.artifacts() as folder:
        write_study_figures(study.optuna, f"{measured}/{config.objective}", folder / "figures")
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    logger.info("tuning %r: %s; best trial %d, %s", study.task.name, text, best.number, json.dumps(best.params))


def count_states(trials: "list[FrozenTrial]") -> dict[str, int]:
    """Return the number of trials by outcome: complete, pruned, failed, killed."""
    names = [state_name(trial) for trial in trials]
    return {state: names.count(state) for state in ("complete", "pruned", "failed", "killed")}


def state_name(trial: "FrozenTrial") -> str:
    """Return the outcome of a trial, in the words of the tag ``trial_state``."""
    if is_killed(trial):
        return "killed"
    return {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())


def _as_row(trial: "FrozenTrial") -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": state_name(trial),
        "values": trial.values if trial.state.name == "COMPLETE" else None,
        "params": trial.params,
        "run_id": trial.user_attrs.get(RUN_ID),
        "retry_of": trial.user_attrs.get("retry_of"),
        "seconds": None if trial.duration is None else trial.duration.total_seconds(),
    }
