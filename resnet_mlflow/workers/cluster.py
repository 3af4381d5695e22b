"""Dask workers: started here for the duration of a study, or those of an existing scheduler."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from resnet_mlflow.devices import THREAD_VARIABLES, n_cores, n_gpus
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.process import quiet_libraries

if TYPE_CHECKING:
    from distributed import Client

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 10
START_TIMEOUT_S = 120
# Maximum restarts of a part that ended through no fault of its own, each on another worker or after a restart.
MOST_RESTARTS = 20
# A worker without a sign of life for this long is abandoned, and its parts go to others.
SILENT_S = 60
# The last one is read by joblib, and through it by ``n_cores``.
CORES = (*THREAD_VARIABLES, "LOKY_MAX_CPU_COUNT")
GPU = "GPU"
_SETTINGS = {
    # In a daemon process joblib falls back to threads, and daal4py then to all cores.
    "distributed.worker.daemon": False,
    # Dask would also set its own in this process, for the workers that it starts; ours get them from ``env``, which
    # takes effect after Dask has started to log.
    "distributed.nanny.pre-spawn-environ": {"DASK_LOGGING__DISTRIBUTED": "warning"},
    # Samples the stack a hundred times a second, for a dashboard that workers of this machine do not have.
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": MOST_RESTARTS,
    "distributed.scheduler.worker-ttl": f"{SILENT_S}s",
    "distributed.comm.timeouts.connect": f"{CONNECT_TIMEOUT_S}s",
    "distributed.admin.tick.limit": "1h",
}


def own_share_of_cores() -> AbstractContextManager[object]:
    """Limit the threads of linear algebra in a worker to its share of cores.

    Dask imports NumPy, and thus its linear algebra libraries, before a worker has its environment.
    """
    from threadpoolctl import threadpool_limits

    given = os.environ.get(CORES[0], "")
    limits: AbstractContextManager[object] = threadpool_limits(int(given) if given.isdecimal() else None, "blas")
    return limits


@contextmanager
def open_workers(n_workers: int, scheduler: str) -> Iterator["Client"]:
    """Yield a client of Dask workers: ``n_workers`` of this machine, or those of the scheduler at an address.

    Workers on this machine listen on loopback, each have a share of the cores, and end with the block.

    Args:
        n_workers: Number of processes to start here; used only without an address.
        scheduler: For example ``tcp://host:8786``; ``tls://`` takes certificates from Dask's own configuration.

    Raises:
        InputError: If no scheduler or no worker answers.
    """
    import dask
    import distributed  # noqa: F401 - Loaded while settings are changed, its defaults would be lost when they are reset.

    with dask.config.set(_SETTINGS):
        if scheduler:
            yield from _connect(scheduler)
        else:
            yield from _start(n_workers)


def _connect(scheduler: str) -> Iterator["Client"]:
    from distributed import Client, Security

    quiet_libraries()
    security = Security() if scheduler.startswith("tls://") else None
    try:
        client = Client(scheduler, timeout=CONNECT_TIMEOUT_S, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"scheduler must answer within {CONNECT_TIMEOUT_S} s, got nothing from {scheduler} ({reason[:200]}); "
            f"start one (dask scheduler), or pass workers instead"
        ) from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise InputError(
                f"scheduler must have workers, got none at {scheduler}; start some (dask worker {scheduler})"
            )
        yield client


def _start(n_workers: int) -> Iterator["Client"]:
    from distributed import Client, Nanny, Scheduler, SpecCluster

    with scratch_folder() as folder:
        workers = {
            number: {"cls": Nanny, "options": _worker_options(number, n_workers, str(folder))}
            for number in range(n_workers)
        }
        # Dask would warn of a port that another study's scheduler has.
        options = {"host": LOOPBACK, "port": 0, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
        scheduler = {"cls": Scheduler, "options": options}
        quiet_libraries()
        cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL)
        with cluster, Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=START_TIMEOUT_S)
            yield client


def _worker_options(number: int, n_workers: int, folder: str) -> dict[str, Any]:
    share = str(max(1, n_cores() // n_workers))
    # The import path of this process, whatever is in the working folder: workers must import the same code.
    environment = dict.fromkeys(CORES, share) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    has_gpu = number < n_gpus()
    if n_gpus():
        environment["CUDA_VISIBLE_DEVICES"] = str(number) if has_gpu else ""
    return {
        "host": LOOPBACK,
        "nthreads": 1,
        "memory_limit": 0,
        "dashboard": False,
        "local_directory": folder,
        "preload": ["resnet_mlflow.workers.begin"],
        "env": environment,
        "resources": {GPU: 1} if has_gpu else {},
    }
