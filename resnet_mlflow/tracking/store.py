"""The tracking store: is it there, which runs does it hold, what did they leave behind."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.views import view_tags

DEFAULT_EXPERIMENT = "resnet-mlflow"
# What makes MLflow's pages show an experiment of ours well: as model training, by validation accuracy.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    # The page shows the first line until it is unfolded.
    "mlflow.note.content": "Image classifiers on ResNet backbones: filter by `tags.stage`, choose by `val/accuracy`, "
    "never by `test/accuracy`.\n\n"
    "- Stages: `study`, `extract`, `fit_head`, `finetune`, `longtail`, `robustness`, `trial`, `promote`, `compare`. "
    "A study's runs fold under it.\n"
    "- *Views* (top right) lists heads, fine-tunings and long-tail methods, best validation score first.\n"
    "- Compare runs of one `tags.dataset_digest`, and of one kind of `tags.weights`: random or pretrained.\n"
    "- The newest run with `tags.stage = 'compare'` holds the report of the experiment: `report/report.html`.",
    **view_tags(),
}
PROBE_TIMEOUT_S = 5


def connect() -> None:
    """Make sure that the tracking store answers, and that an experiment is chosen.

    Raises:
        InputError: If a tracking server does not answer within seconds.
    """
    probe_server()
    _open_store()
    chosen = {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys()
    if not chosen and mlflow.active_run() is None:
        mlflow.set_experiment(DEFAULT_EXPERIMENT)


def _open_store() -> None:
    # Opening a database for the first time makes its tables; MLflow 3.17 lets two processes that do so at once fail.
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        name = f"resnet-mlflow-{os.getuid()}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}.lock"
        with FileLock(Path(tempfile.gettempdir()) / name):
            mlflow.MlflowClient()


def probe_server() -> None:
    """Make sure that a tracking server answers, where runs go to one; nothing is written.

    Raises:
        InputError: If it does not answer within seconds.
    """
    # MLflow's defaults wait for minutes before they tell that a server is gone.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        _probe(uri)


def describe_experiment(experiment_id: str) -> None:
    """Give an experiment the tags that its pages read well by, except those it has."""
    client = mlflow.MlflowClient()
    present = client.get_experiment(experiment_id).tags
    for name, value in EXPERIMENT_TAGS.items():
        if name not in present:
            again_if_raced(partial(client.set_experiment_tag, experiment_id, name, value))


def again_if_raced(write: Callable[[], None]) -> None:
    """Write to the store, and once more if another process wrote the same row at the same moment.

    Of two processes that insert one row at once, such as a tag or a dataset, MLflow 3.17 lets one fail. By then the
    row is there for both.
    """
    try:
        write()
    except MlflowException as error:
        if not any(name in str(error) for name in ("IntegrityError", "UniqueViolation")):
            raise
        write()


def _probe(uri: str) -> None:
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # It answers; a proxy in front may not know the path.
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the tracking server must answer, got no answer from {uri} ({reason}); start it, or unset "
            "MLFLOW_TRACKING_URI to keep runs in ./mlflow.db. Features and checkpoints stay in the cache folder"
        ) from None


def is_unreachable(error: BaseException) -> bool:
    """Tell whether an error means that the tracking store did not answer."""
    if isinstance(error, MlflowException):
        return str(error).startswith("API request to")
    return isinstance(error, ConnectionError | TimeoutError)


def stop_retrying() -> None:
    """Let what MLflow still does in this process, such as ending runs, fail at once: the store is known to be away."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def lost_store(error: BaseException) -> InputError:
    """Return the line for a store that went away while a stage ran."""
    reason = str(error).splitlines()[0][:300]
    return InputError(
        f"the tracking store {mlflow.get_tracking_uri()} must take the run's results, got: {reason}; features and "
        "checkpoints are kept in the cache folder: run the same command again when the store is back"
    )


def store_uri() -> str:
    """Return where runs go."""
    return str(mlflow.get_tracking_uri())


def find_runs(tags: Mapping[str, str], status: str | None = "FINISHED") -> list[Run]:
    """Return all runs of the store that carry the tags, newest first.

    Args:
        tags: Names and values, all of which must match.
        status: Status of the runs; ``None`` for any.
    """
    conditions = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    if status is not None:
        conditions.append(f"attributes.status = '{status}'")
    return search_runs(" and ".join(conditions))


def search_runs(filter_string: str) -> list[Run]:
    """Return all runs of the store that match a filter in MLflow's own language, newest first.

    Args:
        filter_string: Such as ``tags.dataset = 'digits' and metrics.`val/accuracy` > 0.9``; empty means all.

    Raises:
        InputError: If MLflow cannot read the filter.
    """
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    runs: list[Run] = []
    client, token = mlflow.MlflowClient(), None
    while True:
        try:
            page = client.search_runs(
                experiments, filter_string, order_by=["attributes.start_time DESC"], page_token=token
            )
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            reason = " ".join(str(error).split())
            raise InputError(
                f"filter must be one that MLflow understands, got {filter_string!r} ({reason}); write such as "
                "tags.dataset = 'digits'"
            ) from None
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def get_run(run_id: str) -> Run:
    """Return a run of the store.

    Raises:
        InputError: If there is none of that id.
    """
    try:
        return mlflow.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"run_id must name a run of {store_uri()}, got {run_id!r}; copy it from MLflow") from None


def finish_run(run_id: str) -> bool:
    """Let a run whose results are all there end FINISHED, if it has not, and tell whether the store holds it."""
    try:
        info = mlflow.get_run(run_id).info
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    if info.lifecycle_stage == "active" and info.status != "FINISHED":
        mlflow.MlflowClient().set_terminated(run_id, "FINISHED")
    return bool(info.lifecycle_stage == "active")


def set_error(run_id: str, message: str) -> None:
    """Set the ``error`` tag of a run, if the store still answers."""
    with suppress(MlflowException):
        mlflow.MlflowClient().set_tag(run_id, "error", message[:1000])


def end_abandoned_children(parent_run_id: str) -> None:
    """End a run's children that still count as running as KILLED; to be called while nothing of the parent runs."""
    client = mlflow.MlflowClient()
    for run in find_runs({"mlflow.parentRunId": parent_run_id}, status="RUNNING"):
        client.set_terminated(run.info.run_id, "KILLED")
