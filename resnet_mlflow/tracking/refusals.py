"""Errors of stores, servers and MLflow itself, reported in one line with a remedy."""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import InputError, of_place

PROBE_TIMEOUT_S = 5
STORE_ERRORS = (MlflowException, ConnectionError, TimeoutError)
# Messages by text that a refusal contains; the first match applies.
REMEDIES = (
    ("filesystem tracking backend", "write sqlite:///PATH/mlflow.db, or the address of a server"),
    ("MLFLOW_EXPERIMENT_ID", "set MLFLOW_EXPERIMENT_ID to an experiment of this store, or unset it"),
    ("Run with id=", "set MLFLOW_RUN_ID to a run of this store, or unset it"),
    ("deleted state", "restore it, or set MLFLOW_EXPERIMENT_NAME to another"),
    ("error code 401", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
    ("error code 403", "ask the server's administrator for write permission"),
    (
        "No module named",
        "install the missing package: resnet-mlflow[postgres] for PostgreSQL, resnet-mlflow[s3] for S3",
    ),
    ("API request to", "check that MLFLOW_TRACKING_URI is the address of an MLflow server, and that the server works"),
)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn any error while a store is opened into one line.

    Raises:
        InputError: In place of any error from MLflow, its database layer or its HTTP client.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests, drivers and their dependencies
        raise of_place(error) or refused(error) from error


def refused(error: BaseException) -> InputError:
    """Return the error line for a store that cannot be used."""
    reason = shown_reason(error)
    fitting = (remedy for said, remedy in REMEDIES if said in reason)
    remedy = next(fitting, "check that MLFLOW_TRACKING_URI is correct, and that the store works")
    return InputError(f"the tracking store {shown_uri()} must accept runs, got: {reason[:300]}; {remedy}")


def shown_reason(error: BaseException) -> str:
    """Return an error's message in one line, without passwords."""
    lines = str(error).split() or [type(error).__name__]
    return re.sub(r"://[^/@\s]+@", "://", " ".join(lines))


def shown_uri() -> str:
    """Return the address of the store for runs, without a password."""
    return without_password(str(mlflow.get_tracking_uri()))


def without_password(uri: str) -> str:
    """Return an address without user and password."""
    return re.sub(r"://[^/@]+@", "://", uri)


def probe(uri: str) -> None:
    """Check that a server answers.

    Raises:
        InputError: If it does not within seconds.
    """
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # It answers; a proxy in front of it may not know the path.
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the tracking server must answer, got no answer from {shown_uri()} ({reason}); start it, or unset "
            "MLFLOW_TRACKING_URI to keep runs in ./mlflow.db. Features and checkpoints stay in the cache folder"
        ) from None


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error means that the tracking store did not answer, or refused to."""
    if isinstance(error, MlflowException):
        return str(error).startswith("API request to") or error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED")
    return isinstance(error, ConnectionError | TimeoutError)


def stop_retrying() -> None:
    """Make further MLflow calls in this process, such as ending runs, fail at once: the store is unavailable."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def lost_store(error: BaseException) -> InputError:
    """Return the error line for a store that became unavailable while a stage ran."""
    return InputError(
        f"the tracking store {shown_uri()} must accept the run's results, got: {shown_reason(error)[:300]}; features "
        f"and "
        "checkpoints are kept in the cache folder: run the same command again when the store is available"
    )
