"""A container's quota of processor time, in a control group of this machine's."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
GROUPS = Path("/sys/fs/cgroup")
# What a command would start: linear algebra by NumPy's threads, a network by torch's.
SCRIPT = """
import sys
from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import ExtractConfig
from resnet_mlflow.devices import n_cores
def stage(config):
    import numpy, threadpoolctl, torch
    blas = {found["num_threads"] for found in threadpoolctl.threadpool_info() if found["user_api"] == "blas"}
    print(n_cores(), torch.get_num_threads(), *sorted(blas))
run_entry_point(ExtractConfig, stage, [])
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or len(os.sched_getaffinity(0)) < 2,
    reason="a group of one's own takes root, unshare and two cores",
)


def counted(mount, **given):
    """What a process counts that sees a control group in the place where a container's is."""
    others = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=PROJECT,
        env=others | given,
    )
    if "mount" in ran.stderr:
        pytest.skip(f"nothing can be mounted here: {ran.stderr[:200]}")
    assert ran.returncode == 0, ran.stderr
    return [int(number) for number in ran.stdout.split()]


@pytest.fixture
def group():
    """A group of version 1 with a quota of one core."""
    folder = GROUPS / "cpu" / f"test-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        pytest.skip(f"no control groups of version 1 here: {error}")
    yield folder
    folder.rmdir()


def test_threads_keep_to_the_quota_of_version_1(group):
    assert set(counted(f"mount --bind {group} {GROUPS}/cpu")) == {1}


def test_threads_keep_to_the_quota_of_version_2_and_to_what_is_set(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    n_cores = len(os.sched_getaffinity(0))
    assert set(counted(f"mount --bind {tmp_path} {GROUPS}")) == {2}
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert counted(f"mount --bind {tmp_path} {GROUPS}", OMP_NUM_THREADS="2")[:2] == [1, 2]
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert set(counted(f"mount --bind {tmp_path} {GROUPS}")) == {n_cores}
