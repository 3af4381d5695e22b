"""Signs of life of runs: who works on a run, and how runs of dead processes are ended."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from resnet_mlflow.process import is_gone, process_exists, process_mark
from resnet_mlflow.tracking.queries import find_runs, search_runs

logger = logging.getLogger(__name__)

# The processes that work on a run, by their marks, and the time (seconds since 1970) of their last sign of life.
PROCESS, ALIVE_AT = "process", "alive_at"
BEAT_S = 60
# A busy machine or a restarting server must not look like a dead process.
SILENT_S = 15 * BEAT_S


def signs(run: Run | None = None) -> dict[str, str]:
    """Return the tags that show that this process works on a run, in addition to others that still do.

    Args:
        run: The run before; None if it is new.
    """
    before = run.data.tags.get(PROCESS, "").split() if run is not None else []
    others = [mark for mark in before if is_gone(mark) is False and mark != process_mark()]
    return {PROCESS: " ".join([*others, process_mark()]), ALIVE_AT: str(int(time.time()))}


@contextmanager
def beating(write: Callable[[str, str], object]) -> Iterator[None]:
    """Write the time every minute, from another thread, until the block ends.

    Args:
        write: Sets a tag by name and value.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            # If the store is unavailable, the run itself handles it.
            with suppress(Exception):
                write(ALIVE_AT, str(int(time.time())))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def end_abandoned_runs() -> None:
    """End our runs as KILLED if their processes are gone or have given no sign of life for a long time."""
    for run in search_runs("attributes.status = 'RUNNING'"):
        if is_abandoned(run.data.tags):
            logger.warning(
                "run %s (%s) was abandoned by a process that no longer exists: set to KILLED",
                run.info.run_name,
                run.info.run_id,
            )
            with suppress(MlflowException):  # Another process ended or deleted it meanwhile.
                end_killed(run.info.run_id, run.data.tags.get("stage", ""))


def find_interrupted(tags: Mapping[str, str]) -> str | None:
    """Return the newest top-level run with these tags, if it did not finish and no process works on it."""
    found = [run for run in find_runs(tags, status=None) if "mlflow.parentRunId" not in run.data.tags]
    left = [run for run in found[:1] if run.info.status in ("FAILED", "KILLED") or _is_left_running(run)]
    return left[0].info.run_id if left else None


def _is_left_running(run: Run) -> bool:
    return run.info.status == "RUNNING" and is_abandoned(run.data.tags)


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Return whether no process works on a run with these tags any more, as far as can be seen from here."""
    if PROCESS not in tags:  # from another project, or from a version without this tag
        if "stage" not in tags:
            return False
        host, _, number = tags.get("worker", "").rpartition(":")
        return host == socket.gethostname() and number.isdecimal() and not process_exists(int(number))
    gone = [is_gone(mark) for mark in tags[PROCESS].split()]
    if all(gone):
        return True
    last = tags.get(ALIVE_AT, "")
    return False not in gone and last.isdecimal() and time.time() - int(last) > SILENT_S


def end_killed(run_id: str, stage: str) -> None:
    """End the run of a dead process as KILLED."""
    client = mlflow.MlflowClient()
    if stage == "trial":
        client.set_tag(run_id, "trial_state", "killed")
    client.set_terminated(run_id, "KILLED")


def end_abandoned_children(parent_run_id: str) -> None:
    """End a run's descendants as KILLED if they still count as running and no other process works on them.

    Call it only while this process runs no part of the parent.
    """
    for run in find_runs({"mlflow.parentRunId": parent_run_id}, status="RUNNING"):
        if is_abandoned(run.data.tags) or run.data.tags.get(PROCESS) in (None, process_mark()):
            end_abandoned_children(run.info.run_id)
            end_killed(run.info.run_id, run.data.tags.get("stage", ""))


def describe_worker(run: Run) -> str:
    """Return which process works on a run and since when, such as ``host-a:4711 since 2026-01-31 12:00 UTC``."""
    since = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return f"{run.data.tags.get('worker', 'another process')} since {since:%Y-%m-%d %H:%M} UTC"


def end_attempts(parent_run_id: str, cache_key: str) -> None:
    """End earlier attempts at a piece of work that still count as running, and their child runs, as KILLED.

    Called by the worker that has been given the work: the previous one died, hangs or was abandoned.
    """
    for run in find_runs({"mlflow.parentRunId": parent_run_id, "cache_key": cache_key}, status="RUNNING"):
        end_abandoned_children(run.info.run_id)
        end_killed(run.info.run_id, run.data.tags.get("stage", ""))
