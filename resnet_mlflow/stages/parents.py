"""Runs with children: one process at a time works on them, and an interrupted one is continued."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from resnet_mlflow.config import Config
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.locks import held, holder_of
from resnet_mlflow.files.paths import writable_folder
from resnet_mlflow.stages.preparation import digest_of
from resnet_mlflow.tracking import StageRun, connect, end_abandoned_children, find_runs, stage_run, store_uri


@contextmanager
def parent_run(
    stage: str, config: Config, name: str, tags: Mapping[str, object], key: str, cache_dir: Path
) -> Iterator[StageRun]:
    """Yield the run that a piece of work has its children under, the same one when it is started again.

    Args:
        stage: Value of the ``stage`` tag.
        config: Logged as ``config.json`` and parameters.
        name: Name of the run.
        tags: Further tags.
        key: Stands for the work: the ``cache_key`` tag, by which the run is found again.
        cache_dir: Where the lock lies that keeps other processes of this machine out.

    Raises:
        InputError: If the same work is going on in another process.
    """
    connect()
    folder = writable_folder(cache_dir / "locks", "cache_dir")
    path = folder / f"{digest_of({'key': key, 'store': store_uri()})}.lock"
    try:
        with held(path, doing="", wait=False):
            earlier = find_runs({"stage": stage, "cache_key": key}, status=None)
            resume = earlier[0].info.run_id if earlier else None
            with stage_run(stage, config, name, {**tags, "cache_key": key}, resume=resume) as run:
                # Nobody else is at it: children that still look alive are of a process that was killed.
                end_abandoned_children(run.run_id)
                yield run
    except Timeout:
        raise InputError(
            f"{name} must run once at a time, got a process that works on it already ({holder_of(path)}); wait for it "
            "to end"
        ) from None
