"""The trials that this process runs: requested, tracked and reported."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resnet_mlflow.errors import InputError
from resnet_mlflow.process import raise_if_stopped, reason_of
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import TrialRun, describe_distributions, end_killed_trial
from resnet_mlflow.tuning.objective import Measured, Objective
from resnet_mlflow.tuning.shared_study import RETRY_OF, RUN_ID, SharedStudy, TrialEnd, is_killed

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

# Interval between checks whether other processes have finished their trials or died.
POLL_S = 0.5


@dataclass
class Trials:
    """Runs the trials of a study.

    Attributes:
        study: The study, shared with other processes.
        objective: Called for each trial.
        parent_run_id: Parent run of the trials.
        prefix: Prefix of parameter names in runs, such as ``head.``.
        tags: Tags of every trial's run.
        report: Called with a line for each trial.
        overheads_s: Seconds that tracking and Optuna added to each trial.
    """

    study: SharedStudy
    objective: Objective
    parent_run_id: str
    prefix: str
    tags: Mapping[str, object]
    report: Callable[[str], None] = logger.info
    overheads_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run trials until the study needs no more, and wait for those of other processes."""
        self._end_killed()
        with progress(self.study.config.n_trials, "trials", "tuning") as bar:
            while True:
                raise_if_stopped()
                if not bar.disable:
                    bar.n = self.study.n_over()
                    bar.refresh()
                start = time.perf_counter()
                trial = self.study.next_trial()
                if trial is not None:
                    self._run_trial(trial, start)
                elif self.study.others_at_work():
                    time.sleep(POLL_S)
                else:
                    break
        self._end_killed()

    def _run_trial(self, trial: "optuna.Trial", start: float) -> None:
        with self.study.storage.beating(trial):
            params = self.study.task.space.suggest(trial)
            run = TrialRun(self.parent_run_id, f"trial {trial.number} {self.tags['method']}", self._tags_of(trial))
            trial.set_user_attr(RUN_ID, run.run_id)
            begun = time.perf_counter()
            try:
                end = self._measure(trial, run, params)
            except BaseException:  # Ctrl-C: the trial did not fail, and runs again when the study continues.
                self._finish(trial, run, _End("killed"))
                raise
            measured_s = time.perf_counter() - begun
            self._finish(trial, run, end)
        self.overheads_s.append(time.perf_counter() - start - measured_s)
        self._say(trial, end, measured_s)

    def _measure(self, trial: "optuna.Trial", run: TrialRun, params: dict[str, Any]) -> "_End":
        import optuna

        def report(step: int, metrics: Mapping[str, float], value: float) -> None:
            run.log_metrics(metrics, step)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            return _End("complete", self.objective(params, report))
        except optuna.TrialPruned:
            return _End("pruned")
        except Exception as error:  # One failing trial must not stop the others.
            logger.debug("traceback", exc_info=not isinstance(error, InputError))
            return _End("failed", error=reason_of(error))

    def _finish(self, trial: "optuna.Trial", run: TrialRun, end: "_End") -> None:
        # The run first: a process killed in between leaves a trial that runs again, not one without results.
        values = None
        if end.measured is not None:
            run.log_metrics(end.measured.metrics, end.measured.step)
            values = end.measured.values
        run.end(end.state, {f"{self.prefix}{name}": value for name, value in trial.params.items()}, end.error)
        if not self.study.tell(trial, end.state, values, end.error):
            # This process gave no sign of life for so long that another one runs the trial again.
            end_killed_trial(run.run_id)
            logger.warning("trial %d stopped responding and is run again", trial.number)

    def _tags_of(self, trial: "optuna.Trial") -> dict[str, object]:
        from optuna.distributions import distribution_to_json

        rules = {name: json.loads(distribution_to_json(rule)) for name, rule in trial.distributions.items()}
        retry_of = trial.user_attrs.get(RETRY_OF)
        own = {"trial": trial.number, "study_name": self.study.task.name, **describe_distributions(rules)}
        return {**self.tags, **own, **({} if retry_of is None else {"retry_of": retry_of})}

    def _say(self, trial: "optuna.Trial", end: "_End", measured_s: float) -> None:
        config, n_over = self.study.config, self.study.n_over()
        said = {"complete": "", "pruned": "pruned", "failed": f"FAILED: {end.error}"}.get(end.state, end.state)
        if end.measured is not None:
            said = f"{config.objective} {end.measured.values[0]:.4f}"
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        self.report(f"[{n_over}/{config.n_trials}] trial {trial.number}: {said} ({measured_s:.2f} s) {chosen}")

    def _end_killed(self) -> None:
        for trial in self.study.trials():
            if is_killed(trial) and RUN_ID in trial.user_attrs:
                end_killed_trial(trial.user_attrs[RUN_ID])


@dataclass(frozen=True)
class _End:
    """Outcome of a trial."""

    state: TrialEnd
    measured: Measured | None = None
    error: str = ""


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
