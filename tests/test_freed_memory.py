"""Freed memory of arrays is reused, also in workers, although Dask starts them so that they return it to the kernel."""

import resource
import socket
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from resnet_mlflow.stages.jobs import answer
from resnet_mlflow.workers.cluster import open_workers

N_ARRAYS, PAGES_EACH = 100, 256


def count_new_pages():
    """Return how many pages the kernel provides for arrays of a megabyte, of which one exists at a time."""
    np.ones(PAGES_EACH * 4096, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(N_ARRAYS):
        np.ones(PAGES_EACH * 4096, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.parametrize("call", ["", "keep_freed_memory();"])
def test_memory_is_kept_whatever_the_environment_asks_for(call):
    code = (
        f"from resnet_mlflow.process import keep_freed_memory; {call} import test_freed_memory; "
        "print(test_freed_memory.count_new_pages())"
    )
    environment = {"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": ":".join([*sys.path, "tests"])}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if call:
        assert int(ran.stdout) < PAGES_EACH * N_ARRAYS / 10
    else:
        assert int(ran.stdout) > PAGES_EACH * N_ARRAYS / 2, "the setting has its effect here"


@pytest.fixture
def taken_dashboard_port():
    with socket.socket() as taken:
        with suppress(OSError):  # Taken already.
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("taken_dashboard_port")
def test_workers_keep_freed_memory_and_start_beside_other_studies():
    with open_workers(1, "") as client:
        # Whatever is asked for; this is refused.
        (refused,) = client.run(answer, {"kind": "FitHeadConfig", "config": {}, "job": "none", "place": {}}).values()
        assert "failed" in refused
        (n_pages,) = client.run(count_new_pages).values()
    assert n_pages < PAGES_EACH * N_ARRAYS / 10
