"""Runs with children: one process at a time works on them, wherever it runs, and an interrupted one is continued."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from resnet_mlflow.config import Config
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import (
    StageRun,
    connect,
    describe_worker,
    end_abandoned_children,
    find_runs,
    is_abandoned,
    stage_run,
    start_lock,
)


@contextmanager
def parent_run(stage: str, config: Config, name: str, tags: Mapping[str, object], key: str) -> Iterator[StageRun]:
    """Yield the run that a piece of work has its children under, the same one when it is started again.

    Args:
        stage: Value of the ``stage`` tag.
        config: Logged as ``config.json`` and parameters.
        name: Name of the run.
        tags: Further tags.
        key: Stands for the work: the ``cache_key`` tag, by which the run is found again.

    Raises:
        InputError: If the same work is going on in another process that still has a heartbeat.
    """
    connect()
    with ExitStack() as stack:
        # Whoever looks next must find the run and see that somebody works on it.
        with start_lock(key, name):
            earlier = find_runs({"stage": stage, "cache_key": key}, status=None)
            for other in earlier:
                if other.info.status == "RUNNING" and not is_abandoned(other.data.tags):
                    raise InputError(
                        f"only one {name} may run at a time, got {describe_worker(other)}, which is running it (run "
                        f"{other.info.run_id}); wait until it ends"
                    )
            resume = earlier[0].info.run_id if earlier else None
            run = stack.enter_context(stage_run(stage, config, name, {**tags, "cache_key": key}, resume=resume))
        # Nobody else is at it: children that still count as running are of a process that was killed.
        end_abandoned_children(run.run_id)
        yield run
