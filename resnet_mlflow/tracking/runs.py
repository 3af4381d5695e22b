"""An active run: what stages log, and how it ends."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking.fluent import _get_experiment_id

from resnet_mlflow import __version__
from resnet_mlflow.config import Config
from resnet_mlflow.energy import METRIC, EnergyMeter
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.process import process_name, stop_asked
from resnet_mlflow.review import TAG
from resnet_mlflow.tracking.code_version import code_tags
from resnet_mlflow.tracking.datasets import TrackedDataset
from resnet_mlflow.tracking.liveness import beating, end_abandoned_runs, signs
from resnet_mlflow.tracking.protocol import PROTOCOL, protocol_of
from resnet_mlflow.tracking.refusals import STORE_ERRORS, is_unreachable, lost_store, refusals, stop_retrying
from resnet_mlflow.tracking.store import again_if_raced, connect, describe_experiment

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NOTE = "mlflow.note.content"
# A run of another process that is the parent of this process's runs.
_parent_elsewhere: ContextVar[str] = ContextVar("parent_elsewhere", default="")
# Training continues while the server is unavailable; each attempt costs it some seconds.
RETRY_AFTER_S = 60


class StageRun:
    """One of our runs while it is active: stages log through this class."""

    def __init__(self, run_id: str, nested: bool = False) -> None:
        self.run_id = run_id
        self.nested = nested
        # Set by a stage that continued after a part of it failed; the run then ends FAILED.
        self.failure = ""
        # Set if other processes work on the same run: leaving it then does not end it.
        self.others_at_work: Callable[[], bool] = lambda: False
        self._note = ""
        self._warnings: dict[str, str] = {}
        self._unsent: list[dict[str, Any]] = []
        self._next_try_s = 0.0

    def log_metrics(
        self,
        values: Mapping[str, float],
        *,
        step: int | None = None,
        dataset: TrackedDataset | None = None,
        model_id: str | None = None,
    ) -> None:
        """Log metrics, linked to a dataset and a model if given.

        A briefly unavailable server does not stop training: values wait for the next call.
        """
        self._unsent.append({"metrics": dict(values), "step": step, "dataset": dataset, "model_id": model_id})
        if time.monotonic() < self._next_try_s:
            return
        try:
            self._send()
        except STORE_ERRORS as error:
            if not is_unreachable(error):
                raise
            self._next_try_s = time.monotonic() + RETRY_AFTER_S
            logger.warning("waiting for the tracking server to log metrics: %s", str(error).splitlines()[0][:200])

    def _send(self) -> None:
        while self._unsent:
            mlflow.log_metrics(**self._unsent[0])
            del self._unsent[0]

    def logged_steps(self, metric: str) -> set[int]:
        """Return the steps at which the run already has a metric, as in a continued run."""
        return {entry.step for entry in mlflow.MlflowClient().get_metric_history(self.run_id, metric)}

    def flush(self) -> None:
        """Send waiting values to the tracking server; errors are raised now."""
        self._send()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; values are truncated at MLflow's limit of 8000 characters."""
        mlflow.set_tags({key: str(value)[:8000] for key, value in tags.items()})

    def log_note(self, markdown: str) -> None:
        """Set the run's description; warnings follow below it."""
        self._note = markdown
        message = "\n".join(f"- {line}" for line in self._warnings.values())
        mlflow.set_tag(NOTE, f"{markdown}\n\n{message}" if message else markdown)

    def log_warnings(self, found: Mapping[str, str], lines: Mapping[str, str]) -> None:
        """Set a tag ``warning.<code>`` for each warning, and add them to the run's description.

        Args:
            found: Findings by code.
            lines: Findings with their meaning, by code.
        """
        if found:
            self._warnings |= lines
            self.set_tags({f"{TAG}{code}": text for code, text in found.items()})
            self.log_note(self._note)

    def log_dataset(self, dataset: TrackedDataset, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Log a dataset as an input of the run, in the role ``context``, with further tags of that input."""
        again_if_raced(lambda: mlflow.log_input(dataset, context=context, tags=dict(tags or {})))

    @contextmanager
    def artifacts(self) -> Iterator[Path]:
        """Yield an empty folder; its content becomes artifacts of the run in one upload."""
        with scratch_folder() as folder:
            yield folder
            mlflow.log_artifacts(str(folder))

    def log_json(self, content: Mapping[str, Any], path: str) -> None:
        """Log a mapping as a JSON artifact."""
        mlflow.log_dict(dict(content), path)

    def log_series(self, series: Mapping[str, Sequence[float]]) -> None:
        """Log metrics over the steps 0, 1, ... in one request, of up to 1000 values."""
        points = [
            Metric(name, float(value), int(time.time() * 1000), step)
            for name, values in series.items()
            for step, value in enumerate(values)
        ]
        mlflow.MlflowClient().log_batch(self.run_id, metrics=points)

    def log_table(self, table: "pd.DataFrame", path: str) -> None:
        """Log a table as a JSON artifact that MLflow shows as one."""
        # MLflow looks for object columns, about which pandas 3 warns if there is text.
        texts = [name for name, dtype in table.dtypes.items() if dtype == "str"]
        mlflow.log_table(table.astype(dict.fromkeys(texts, object)), path)

    def log_head_params(self, params: Mapping[str, Any]) -> None:
        """Log every parameter of a head, defaults included, as ``head.<name>``."""
        mlflow.log_params({f"head.{name}": as_text(value) for name, value in params.items()})

    def log_config(self, config: Config) -> None:
        """Log ``config.json`` and, as parameters, those in use that ``mlflow run`` has not recorded yet.

        ``mlflow run`` records each parameter as the given text; logging an equal value in another spelling would fail.
        """
        values = config.model_dump()
        mlflow.log_dict(values, "config.json")
        recorded = mlflow.get_run(self.run_id).data.params
        known = recorded.keys() | config.idle
        mlflow.log_params({key: as_text(value) for key, value in values.items() if key not in known})


def as_text(value: object) -> str:
    """Return a parameter's value as recorded in runs."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def stage_run(
    stage: str, config: Config, name: str, tags: Mapping[str, object], resume: str | None = None
) -> Iterator[StageRun]:
    """Yield an active run that ends with its true status: FINISHED, FAILED or KILLED.

    It is nested under the active run, if there is one. Inside ``mlflow run``, the first one is the run created by
    MLflow.

    Args:
        stage: Value of the ``stage`` tag.
        config: Logged as ``config.json`` and parameters.
        name: Name of the run.
        tags: Further tags.
        resume: A run to continue instead of starting one; ignored if it cannot be continued.

    Raises:
        InputError: If the tracking store cannot be reached.
    """
    connect()
    nested = mlflow.active_run() is not None
    parent = "" if nested else _parent_elsewhere.get()
    with refusals():
        if not nested and not parent:
            end_abandoned_runs()
        earlier = _resumable(resume)
        alive = signs(earlier)
        resumed = None
        if earlier is not None:
            resumed = earlier.info.run_id
            leave_launched_run(resumed)
            # Before it counts as running again: other processes must then see that a process works on it.
            for tag, value in alive.items():
                mlflow.MlflowClient().set_tag(resumed, tag, value)
            if "error" in earlier.data.tags:
                mlflow.MlflowClient().delete_tag(resumed, "error")
        own = {"stage": stage, "version": __version__, "worker": process_name(), **alive}
        active = mlflow.start_run(
            run_id=resumed,
            run_name=name,
            nested=nested,
            parent_run_id=parent or None,
            tags=own,
            log_system_metrics=True,
        )
    try:
        run = StageRun(active.info.run_id, nested)
        meter = EnergyMeter()
        with _true_status(run), beating(_beat(run.run_id, meter)):
            if not nested and not parent:
                describe_experiment(active.info.experiment_id)
            run.set_tags({**own, PROTOCOL: protocol_of(config.model_dump()), **code_tags(), **tags})
            run.log_config(config)
            yield run
            joules = meter.joules()
            run.log_metrics({} if joules is None else {METRIC: joules})
            run.flush()
    except STORE_ERRORS as error:
        if is_unreachable(error):
            raise lost_store(error) from error
        raise


def _beat(run_id: str, meter: EnergyMeter) -> Callable[[str, str], None]:
    client = mlflow.MlflowClient()

    def beat(name: str, value: str) -> None:
        meter.look()
        client.set_tag(run_id, name, value)

    return beat


@contextmanager
def under_run(run_id: str) -> Iterator[None]:
    """Nest runs under one that is active in another process."""
    token = _parent_elsewhere.set(run_id)
    try:
        yield
    finally:
        _parent_elsewhere.reset(token)


@contextmanager
def _true_status(run: StageRun) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit) or stop_asked()
        status = "KILLED" if killed else "FAILED"
        if is_unreachable(error):
            stop_retrying()
        # The first error counts: an unavailable store must not hide it.
        with suppress(*STORE_ERRORS):
            mlflow.set_tag("error", (str(error).splitlines() or [type(error).__name__])[0][:1000])
        with suppress(*STORE_ERRORS):
            mlflow.end_run("RUNNING" if run.others_at_work() else status)
        raise
    if run.failure:
        mlflow.set_tag("error", run.failure)
    mlflow.end_run("FAILED" if run.failure else "FINISHED")


def _resumable(run_id: str | None) -> Run | None:
    """Return the run if it can be continued: it exists, and is in the current experiment."""
    try:
        run = mlflow.get_run(run_id) if run_id else None
    except MlflowException:
        return None
    if run is None or run.info.lifecycle_stage != "active" or run.info.experiment_id != _get_experiment_id():
        return None
    return run


def leave_launched_run(continued: str) -> None:
    """Mark the run that ``mlflow run`` created as a mere pointer to the continued run."""
    launched = os.environ.pop("MLFLOW_RUN_ID", None)
    if launched is not None and launched != continued:
        client = mlflow.MlflowClient()
        client.set_tag(launched, "continued_in", continued)
        client.set_tag(launched, NOTE, f"Continued an interrupted run: {continued}")
