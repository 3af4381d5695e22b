"""A study shared by processes: who runs which trial, what happens to killed ones, and when the study is complete."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from resnet_mlflow.config import TuningConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.tuning.samplers import build_sampler, grid_points
from resnet_mlflow.tuning.search_space import SearchSpace
from resnet_mlflow.tuning.storage import SharedStorage

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

IDENTITY, PARENT, CONCLUDED = "identity", "parent_run_id", "concluded_run_id"
TrialEnd = Literal["complete", "pruned", "failed", "killed"]
RUN_ID, RETRY_OF, ERROR = "run_id", "retry_of", "error"


@dataclass(frozen=True)
class Task:
    """The task of a study.

    Attributes:
        name: The study's name in its storage.
        space: Search space.
        defaults: The method's own parameters; the first trial uses those that are in the space.
        identity: Values that make two trials comparable, by name; a study with another identity is refused.
        n_epochs: Maximum number of epochs of a trial; 0 if trials have none.
    """

    name: str
    space: SearchSpace
    defaults: Mapping[str, Any]
    identity: Mapping[str, Any]
    n_epochs: int = 0


class SharedStudy:
    """An Optuna study; this process runs some of its trials."""

    def __init__(
        self,
        task: Task,
        config: TuningConfig,
        storage: SharedStorage,
        pruner: "optuna.pruners.BasePruner",
    ) -> None:
        """Open the study, or create it.

        Raises:
            InputError: If a study with this name has another task.
        """
        import optuna
        from optuna.study import StudyDirection

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.task, self.config, self.storage = task, config, storage
        directions = [StudyDirection.MINIMIZE if config.minimizes else StudyDirection.MAXIMIZE]
        directions += [StudyDirection.MINIMIZE] if config.second_objective != "none" else []
        with self.lock():
            self.optuna = optuna.create_study(
                storage=storage.backend, study_name=task.name, directions=directions, pruner=pruner, load_if_exists=True
            )
            self._check_identity()
        self._deadline = time.monotonic() + config.timeout_s if config.timeout_s else float("inf")

    def lock(self, purpose: str = "trials") -> AbstractContextManager[None]:
        """Return a context that excludes the study's other processes."""
        # A study may have any name; its locks are files.
        return self.storage.lock(blake2b(f"{self.task.name}.{purpose}".encode(), digest_size=8).hexdigest())

    def _check_identity(self) -> None:
        wanted = json.loads(json.dumps({**self.task.identity, "space": self.task.space.as_dict()}))
        known = self.optuna.user_attrs.get(IDENTITY)
        if known is None:
            self.optuna.set_user_attr(IDENTITY, wanted)
            return
        for name, value in wanted.items():
            if known.get(name) != value:
                raise InputError(
                    f"tuning {self.task.name!r} of {self.storage.place} must continue with the {name} that it started "
                    f"with, "
                    f"{_difference(known.get(name), value)}; pass study_name=another to start a new one"
                )

    @property
    def parent_run_id(self) -> str | None:
        """Return the parent run of the trials."""
        return self.optuna.user_attrs.get(PARENT)

    def set_parent(self, run_id: str) -> None:
        """Share the parent run of the trials with all processes; call this while holding the lock."""
        self.optuna.set_user_attr(PARENT, run_id)

    @property
    def concluded_run_id(self) -> str | None:
        """Return the run with the refitted best trial, once it exists."""
        return self.optuna.user_attrs.get(CONCLUDED)

    def set_concluded(self, run_id: str) -> None:
        """Share with all processes that the study has been evaluated."""
        self.optuna.set_user_attr(CONCLUDED, run_id)

    @property
    def is_concluded(self) -> bool:
        """Return whether another process has evaluated the study on the current parent."""
        concluded = self.concluded_run_id
        return concluded is not None and concluded == self.parent_run_id

    def next_trial(self) -> "optuna.Trial | None":
        """Return a trial to run, or ``None`` if enough have been started or a limit is reached."""
        from optuna.trial import TrialState

        with self.lock():
            self._revive_killed()
            trials = self.trials()
            if self.is_concluded or time.monotonic() > self._deadline or self.is_complete(trials):
                return None
            if sum(_is_taken(trial) for trial in trials) >= self._n_wanted():
                return None
            waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
            if not waiting:
                self._enqueue(trials)
            number = waiting[0] if waiting else len(trials)
            self.optuna.sampler = build_sampler(self.config.sampler, self.task.identity["seed"], number)
            trial = self._ask()
            self.storage.claim(trial)
            return trial

    def _ask(self) -> "optuna.Trial":
        with warnings.catch_warnings():
            # Optuna assumes that heartbeats need its own loop.
            warnings.filterwarnings("ignore", message="Heartbeat of storage")
            return self.optuna.ask()

    def _enqueue(self, trials: Sequence["FrozenTrial"]) -> None:
        """Queue trials that the sampler does not choose: the method's defaults first, or the next point of the grid."""
        if self.config.sampler == "grid":
            n_begun = sum(RETRY_OF not in trial.user_attrs for trial in trials)
            self.optuna.enqueue_trial(self._grid[n_begun])
        elif not trials and (first := self.task.space.contained(self.task.defaults)):
            self.optuna.enqueue_trial(first)

    @cached_property
    def _grid(self) -> list[dict[str, Any]]:
        return grid_points(self.task.space, self.task.identity["seed"])

    def _n_wanted(self) -> int:
        n_trials = self.config.n_trials
        return min(n_trials, len(self._grid)) if self.config.sampler == "grid" else n_trials

    def _revive_killed(self) -> None:
        """Fail the trials of dead processes, and queue each of them once more with the same parameters."""
        import optuna
        from optuna.trial import TrialState

        self.storage.fail_dead(self.optuna)
        trials = self.trials()
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            if is_killed(trial) and trial.number not in retried:
                again = optuna.trial.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={RETRY_OF: trial.number},
                    system_attrs={name: value for name, value in trial.system_attrs.items() if name == "fixed_params"},
                )
                self.optuna.add_trial(again)

    def tell(self, trial: "optuna.Trial", state: TrialEnd, values: Sequence[float] | None, error: str = "") -> bool:
        """Report the outcome of a trial to Optuna, and return whether it still belonged to this process.

        A ``killed`` trial will run again.
        """
        from optuna.trial import TrialState

        ends = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        with self.lock():
            if self.trials()[trial.number].state != TrialState.RUNNING:
                return False
            if state == "failed":
                trial.set_user_attr(ERROR, error)
            self.optuna.tell(trial, values, state=ends.get(state, TrialState.FAIL))
        return True

    def others_at_work(self) -> bool:
        """Return whether a trial is running in a process that is not known to be dead."""
        from optuna.trial import TrialState

        with self.lock():
            self._revive_killed()
            return bool(self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def trials(self) -> list["FrozenTrial"]:
        """Return all trials, ordered by number."""
        return self.optuna.get_trials(deepcopy=False)

    def is_complete(self, trials: Sequence["FrozenTrial"] | None = None) -> bool:
        """Return whether the requested number of trials has ended, or the target is reached."""
        trials = self.trials() if trials is None else trials
        if sum(map(_is_over, trials)) >= self._n_wanted():
            return True
        if not self.config.target:
            return False
        values = [trial.values[0] for trial in trials if trial.values]
        best = (min if self.config.minimizes else max)(values, default=None)
        return best is not None and (
            best <= self.config.target if self.config.minimizes else best >= self.config.target
        )

    def n_over(self) -> int:
        """Return the number of trials that ended by themselves."""
        return sum(map(_is_over, self.trials()))

    def best_trial(self) -> "FrozenTrial":
        """Return the trial with the best objective; ties go to the fastest if time is an objective, then to the first.

        Raises:
            InputError: If no trial is complete.
        """
        from optuna.trial import TrialState

        done = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        if not done:
            reasons = [trial.user_attrs[ERROR] for trial in self.trials() if ERROR in trial.user_attrs]
            raise InputError(
                f"at least one trial must finish, got none of {len(self.trials())}"
                f"{f'; the last failed: {reasons[-1]}' if reasons else ''}; correct the search space or raise timeout_s"
            )
        sign = 1 if self.config.minimizes else -1
        return min(done, key=lambda trial: (sign * trial.values[0], *trial.values[1:], trial.number))


def is_killed(trial: "FrozenTrial") -> bool:
    """Return whether a trial's process ended before the trial did: a trial that failed by itself has a reason."""
    from optuna.trial import TrialState

    return trial.state == TrialState.FAIL and ERROR not in trial.user_attrs


def _is_over(trial: "FrozenTrial") -> bool:
    return trial.state.is_finished() and not is_killed(trial)


def _is_taken(trial: "FrozenTrial") -> bool:
    from optuna.trial import TrialState

    return _is_over(trial) or trial.state == TrialState.RUNNING


def _difference(known: Any, wanted: Any) -> str:
    if isinstance(known, dict) and isinstance(wanted, dict):
        changed = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
        parts = [f"{name} {_short(known.get(name))} became {_short(wanted.get(name))}" for name in changed[:3]]
        return f"got a changed one: {'; '.join(parts)}"
    return f"which is {known!r}, got {wanted!r}"


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
