"""Locks that say who holds them."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import Timeout

from resnet_mlflow.files.locks import held, holder_of

HOLD = """
import sys
from pathlib import Path
from resnet_mlflow.files.locks import held
with held(Path(sys.argv[1]), "works"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    project = Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_held_waits_and_says_for_whom(tmp_path, holder, caplog):
    got = threading.Event()

    def take():
        with held(tmp_path / "lock", "trains this network"):
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    while "waiting for it" not in caplog.text:
        thread.join(0.05)
    assert not got.is_set()
    holder.stdin.close()
    thread.join(60)
    assert got.is_set()
    known = f"process {holder.pid}" if Path("/proc/locks").exists() else "another process"
    assert f"{known} trains this network; waiting for it" in caplog.text


def test_held_refuses_where_it_must_not_wait(tmp_path, holder):
    with pytest.raises(Timeout), held(tmp_path / "lock", "", wait=False):
        pass


def test_holder_of_nothing_is_another_process(tmp_path):
    assert holder_of(tmp_path / "nothing") == "another process"
