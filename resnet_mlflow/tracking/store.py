"""The tracking store: checks that it exists and takes runs, and sets how its pages show them."""

import os
from collections.abc import Callable
from functools import partial

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking.fluent import _get_experiment_id

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.liveness import signs
from resnet_mlflow.tracking.opening import check_artifacts, open_store, store_uri
from resnet_mlflow.tracking.refusals import probe, refusals, refused
from resnet_mlflow.tracking.views import view_tags

DEFAULT_EXPERIMENT = "resnet-mlflow"
# Tags that make MLflow's pages show our experiments well: as model training, by validation accuracy.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    # The page shows only the first line until expanded.
    "mlflow.note.content": "Image classifiers on ResNet backbones: filter by `tags.stage`, choose by `val/accuracy`, "
    "never by `test/accuracy`.\n\n"
    "- Stages: `study`, `extract`, `fit_head`, `finetune`, `longtail`, `robustness`, `trial`, `promote`, `compare`. "
    "A study's runs fold under it.\n"
    "- *Views* (top right) lists heads, fine-tunings and long-tail methods, best validation score first.\n"
    "- Compare runs of one `tags.dataset_digest`, and of one kind of `tags.weights`: random or pretrained.\n"
    "- The newest run with `tags.stage = 'compare'` holds the report of the experiment: `report/report.html`.",
    **view_tags(),
}


def connect() -> None:
    """Check that the tracking store answers, and that a usable experiment is chosen for runs.

    Raises:
        InputError: If it does not answer or refuses, or if the experiment or run named by the environment does not
            exist.
    """
    probe_server()
    with refusals():
        open_store(store_uri())
        chosen = {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & os.environ.keys()
        if mlflow.active_run() is not None:
            return
        if not chosen:
            _choose(DEFAULT_EXPERIMENT)
        _check_experiment()


def _choose(name: str) -> None:
    experiment = mlflow.MlflowClient().get_experiment_by_name(name)
    if experiment is not None:
        check_state(experiment)
    mlflow.set_experiment(name)


def _check_experiment() -> None:
    """Refuse an experiment or run from the environment that does not exist or cannot receive artifacts."""
    client = mlflow.MlflowClient()
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        info = client.get_run(run_id).info
        if info.lifecycle_stage != "active":
            raise InputError(f"MLFLOW_RUN_ID must name a run that is not deleted, got {run_id}; restore or unset it")
        experiment_id = info.experiment_id
        for tag, value in signs().items():
            client.set_tag(run_id, tag, value)
    else:
        experiment_id = str(_get_experiment_id())
    experiment = client.get_experiment(experiment_id)
    check_state(experiment)
    check_artifacts(str(experiment.artifact_location))


def check_state(experiment: Experiment) -> None:
    """Refuse an experiment that was deleted, or that a server only claims to have.

    Raises:
        InputError: If this is the case.
    """
    if experiment.lifecycle_stage == "deleted":
        raise InputError(
            f"the experiment must exist, got {experiment.name!r}, which was deleted; restore it (mlflow experiments "
            "restore), or set MLFLOW_EXPERIMENT_NAME to another"
        )
    if experiment.lifecycle_stage != "active":
        raise refused(ValueError("API request to get an experiment was not answered"))


def probe_server() -> None:
    """Check that the tracking server answers, if runs go to one; nothing is written.

    Raises:
        InputError: If it does not answer within seconds.
    """
    # With its defaults, MLflow waits for minutes before it reports that a server is gone.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        probe(uri)


def describe_experiment(experiment_id: str) -> None:
    """Give an experiment the display tags for its pages, except those that it already has."""
    client = mlflow.MlflowClient()
    present = client.get_experiment(experiment_id).tags
    for name, value in EXPERIMENT_TAGS.items():
        if name not in present:
            again_if_raced(partial(client.set_experiment_tag, experiment_id, name, value))


def again_if_raced(write: Callable[[], None]) -> None:
    """Write to the store, and retry once if another process wrote the same row at the same moment.

    If two processes insert the same row at once, such as a tag or a dataset, one fails in MLflow 3.17. By then the row
    exists for both.
    """
    try:
        write()
    except MlflowException as error:
        if not any(name in str(error) for name in ("IntegrityError", "UniqueViolation")):
            raise
        write()
