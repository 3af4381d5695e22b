"""A trial's run: written in batches, since a study has many of them, and under a named parent."""

import json
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from resnet_mlflow import __version__
from resnet_mlflow.process import process_name
from resnet_mlflow.tracking.liveness import PROCESS, end_killed, signs
from resnet_mlflow.tracking.runs import as_text

TrialState = Literal["complete", "pruned", "failed", "killed"]
# MLflow has no status for a pruned trial; only complete trials count as FINISHED.
STATUSES: dict[TrialState, str] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "killed": "KILLED"}
# Interval of sending metrics in a long trial, so that it can be followed.
SEND_AFTER_S = 10


class TrialRun:
    """The run of one trial, in three requests: start, results and end."""

    def __init__(self, parent_run_id: str, name: str, tags: Mapping[str, object]) -> None:
        """Start the run.

        Args:
            parent_run_id: Parent run; MLflow's run stack knows it in one thread only.
            name: Name of the run.
            tags: Facts known before the trial: its number, distributions of parameters, and what it works on.
        """
        self._client = mlflow.MlflowClient()
        common = {"stage": "trial", "version": __version__, "worker": process_name(), PROCESS: signs()[PROCESS]}
        texts = {key: str(value)[:8000] for key, value in {**common, **tags, "trial_state": "running"}.items()}
        run = self._client.create_run(
            _experiment_of(mlflow.get_tracking_uri(), parent_run_id),
            tags={**_source_tags(), **texts, MLFLOW_PARENT_RUN_ID: parent_run_id},
            run_name=name,
        )
        self.run_id: str = run.info.run_id
        self._unsent: list[Metric] = []
        self._sent_s = time.monotonic()

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Keep metrics until the trial ends, or for some seconds."""
        now_ms = int(time.time() * 1000)
        self._unsent += [Metric(name, float(value), now_ms, step) for name, value in values.items()]
        if time.monotonic() - self._sent_s > SEND_AFTER_S:
            self._client.log_batch(self.run_id, metrics=self._unsent)
            self._unsent, self._sent_s = [], time.monotonic()

    def end(self, state: TrialState, params: Mapping[str, Any], error: str = "") -> None:
        """Log remaining values and end the run.

        Args:
            state: Outcome of the trial; decides the run's status.
            params: The trial's parameters.
            error: Why it failed.
        """
        tags = [RunTag("trial_state", state)] + ([RunTag("error", error[:1000])] if error else [])
        named = [Param(name, as_text(value)) for name, value in params.items()]
        self._client.log_batch(self.run_id, self._unsent[-1000:], named, tags)
        self._client.set_terminated(self.run_id, STATUSES[state])


def end_killed_trial(run_id: str) -> None:
    """End the run of a trial if its process is gone."""
    if mlflow.MlflowClient().get_run(run_id).data.tags.get("trial_state") != "killed":
        end_killed(run_id, "trial")


def describe_distributions(distributions: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return one tag per parameter with its possible values as JSON."""
    return {f"distribution.{name}": json.dumps(rule) for name, rule in distributions.items()}


@lru_cache(maxsize=8)
def _experiment_of(store_uri: str, run_id: str) -> str:
    return str(mlflow.get_run(run_id).info.experiment_id)


@lru_cache(maxsize=1)
def _source_tags() -> dict[str, str]:
    """Return user and source, as in MLflow's own tags; determined once, because it calls git."""
    return dict(resolve_tags())
