"""Heads tuned on features: one study per head, for one head or for all."""

import logging
from contextlib import ExitStack
from typing import Any

from resnet_mlflow.config import EXECUTION_ONLY, FitHeadConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.process import reason_of
from resnet_mlflow.registry.heads import HEADS
from resnet_mlflow.stages.head_runs import fit_and_conclude, load_splits, run_name, run_tags, with_params
from resnet_mlflow.stages.preparation import Inputs, digest_of, prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.stages.tuning import Search, enter_shared_run, finished_before, open_study_storage, run_search
from resnet_mlflow.tracking import StageRun, connect, store_uri
from resnet_mlflow.tuning.head_objective import HeadObjective, count_epochs
from resnet_mlflow.tuning.objective import Objective
from resnet_mlflow.tuning.samplers import build_pruner
from resnet_mlflow.tuning.search_space import SearchSpace, load_space
from resnet_mlflow.tuning.shared_study import SharedStudy, Task

logger = logging.getLogger(__name__)


def tune_head(config: FitHeadConfig, inputs: Inputs | None = None) -> Outcome:
    """Return the scores of a head with the parameters of the best trial.

    Args:
        config: The given configuration.
        inputs: Inputs of the run; prepared if not given.

    Raises:
        InputError: If the search space, sampler or pruner do not fit the head.
    """
    given = parse_head_params(config.head_params)
    defaults = build_head(config.head, given, config.seed).get_params()
    space = load_space(config.search_space, config.head, given)
    inputs = inputs or prepare(config)
    work = _Work(config, inputs, space)
    return run_search(
        Search(
            stage=inputs.stage_of("fit_head"),
            config=config,
            inputs=inputs,
            method=config.head,
            name=run_name(config, inputs),
            tags=run_tags(config, inputs),
            prefix="head.",
            space=space,
            defaults=defaults,
            n_epochs=count_epochs(config.head, space),
            prepare=work.prepare,
            conclude=work.conclude,
        )
    )


class _Work:
    """The head's part in a study: its features, its trials and its last fit."""

    def __init__(self, config: FitHeadConfig, inputs: Inputs, space: SearchSpace) -> None:
        self.config, self.inputs, self.space = config, inputs, space

    def prepare(self, run: StageRun) -> Objective:
        self.inputs, self.splits = load_splits(self.config, self.inputs)
        return HeadObjective(self.config, self.space, self.splits)

    def conclude(self, run: StageRun, params: dict[str, Any]) -> Outcome:
        outcome = fit_and_conclude(run, self.config, self.inputs, self.splits, params)
        # The fitted configuration, so that the run looks like one with these parameters given.
        run.log_json(with_params(self.config, params).model_dump(), "config.json")
        return outcome


def tune_all_heads(config: FitHeadConfig) -> Outcome:
    """Return the scores of the best of all heads by the objective, each tuned in its own study.

    A failing head does not stop the others.
    """
    for head in HEADS:
        load_space(config.search_space, head, {})  # Refused before the first study.
    inputs = prepare(config)
    connect()
    study = _study_of_studies(config, inputs)
    with ExitStack() as stack:
        with study.lock("parent"):
            if (finished := finished_before(study)) is not None:
                return finished
            name = f"all heads tuned {config.backbone} s{config.seed}"
            run = enter_shared_run(stack, study, "tuning", name, run_tags(config, inputs))
        outcomes, failures = _tune_each(config, study.task.name)
        if failures:
            run.failure = "; ".join(f"{head}: {reason}" for head, reason in failures.items())
        best = _log_heads(run, config, inputs, outcomes)
        if not failures:
            study.set_concluded(run.run_id)
    return best


def _study_of_studies(config: FitHeadConfig, inputs: Inputs) -> SharedStudy:
    """Return a study without trials, through which processes agree on the parent run of the heads' runs."""
    identity = config.model_dump(mode="json", exclude=set(EXECUTION_ONLY | config.unread))
    identity |= {"features_key": inputs.features_key, **inputs.grouping}
    key = digest_of({**identity, "store": store_uri()})[:8]
    name = config.study_name or f"all {config.backbone} {inputs.dataset.short_name} s{config.seed} {key}"
    task = Task(name, SearchSpace("all", {}, {}), {}, identity)
    return SharedStudy(task, config, open_study_storage(config, inputs, name), build_pruner(config, n_epochs=1))


def _tune_each(config: FitHeadConfig, name: str) -> tuple[dict[str, Outcome], dict[str, str]]:
    outcomes: dict[str, Outcome] = {}
    failures: dict[str, str] = {}
    for head in HEADS:
        own = {"head": head, "study_name": f"{name}: {head}"}
        try:
            outcomes[head] = tune_head(config.model_copy(update=own))
        except Exception as error:  # Ctrl-C passes.
            failures[head] = reason_of(error)
            logger.error("%s FAILED: %s", head, failures[head])
            logger.debug("traceback", exc_info=not isinstance(error, InputError))
    if not outcomes:
        raise InputError(f"at least one head must finish, got none; {failures}")
    return outcomes, failures


def _log_heads(run: StageRun, config: FitHeadConfig, inputs: Inputs, outcomes: dict[str, Outcome]) -> Outcome:
    metric, sign = f"val/{config.objective}", 1 if config.minimizes else -1
    order = sorted(outcomes, key=lambda head: sign * outcomes[head].metrics[metric])
    lines = [f"| head | {metric} | test accuracy | 95 % interval | run |", "|---|---|---|---|---|"]
    for head in order:
        m = outcomes[head].metrics
        low, high = m["test/accuracy_ci_low"], m["test/accuracy_ci_high"]
        lines.append(
            f"| {head} | {m[metric]:.4f} | {m['test/accuracy']:.4f} | {low:.4f} to {high:.4f} | "
            f"{outcomes[head].run_id} |"
        )
    run.set_tags({"best_head": order[0], "best_run_id": outcomes[order[0]].run_id})
    run.log_note("\n\n".join([f"**Heads tuned on {inputs.dataset.name}**", "\n".join(lines), *inputs.remarks]))
    logger.info("%s", "\n".join(lines))
    return outcomes[order[0]]
