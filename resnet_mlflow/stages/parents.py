"""Runs with children: one process at a time works on them, on any machine, and interrupted ones are continued."""

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
    """Yield the parent run of a piece of work; restarting the work yields the same run.

    Args:
        stage: Value of the ``stage`` tag.
        config: Logged as ``config.json`` and parameters.
        name: Name of the run.
        tags: Further tags.
        key: Identifies the work: the ``cache_key`` tag, by which the run is found again.

    Raises:
        InputError: If another process with a heartbeat is doing the same work.
    """
    connect()
    with ExitStack() as stack:
        # The next process to look must find the run and see that it is being worked on.
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
        # No other process works on it: children that still count as running belong to a killed process.
        end_abandoned_children(run.run_id)
        yield run
