"""The lock of a promotion: one process at a time, and none that a dead one keeps."""

import threading
from pathlib import Path

import forked
import mlflow
import pytest

from resnet_mlflow.tracking import promotion_lock
from resnet_mlflow.tracking.liveness import PROCESS

PROJECT = Path(__file__).parents[2]
COUNT = """
import sys, time
from pathlib import Path
from resnet_mlflow.tracking import promotion_lock
for _ in range(5):
    with promotion_lock("birds"):
        file = Path(sys.argv[1])
        number = int(file.read_text())
        time.sleep(0.01)
        file.write_text(str(number + 1))
"""
DIE = """
import os
from resnet_mlflow.tracking import promotion_lock
with promotion_lock("birds"):
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("resnet_mlflow.tracking.locking.POLL_S", 0.05)


def test_promotion_lock_lets_one_process_in(store, tmp_path):
    file = tmp_path / "number"
    file.write_text("0")
    command = [
        "-c",
        COUNT.replace("for _", "import resnet_mlflow.tracking.locking as l; l.POLL_S = 0.05\nfor _"),
        str(file),
    ]
    processes = [forked.Process(command, cwd=PROJECT, stderr=None) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert file.read_text() == "15"
    assert mlflow.search_registered_models() == []


def test_promotion_lock_takes_over_what_a_killed_process_held(store, caplog):
    killed = forked.run(["-c", DIE], cwd=PROJECT)
    assert killed.returncode == -9
    with promotion_lock("birds"):
        assert len(mlflow.search_registered_models()) == 1
    assert "was left unfinished" in caplog.text
    assert mlflow.search_registered_models() == []


def test_promotion_lock_says_who_is_waited_for_and_keeps_other_names_free(store, caplog):
    with promotion_lock("birds"):
        (lock,) = mlflow.search_registered_models()
        mlflow.MlflowClient().set_registered_model_tag(lock.name, PROCESS, "elsewhere:1:1")
        mlflow.MlflowClient().set_registered_model_tag(lock.name, "worker", "another-host:4711")
        with promotion_lock("fish / it's"):
            pass
        waiting = threading.Thread(target=lambda: promotion_lock("birds").__enter__(), daemon=True)
        waiting.start()
        while "waiting for it" not in caplog.text:
            waiting.join(0.05)
        mlflow.MlflowClient().delete_registered_model(lock.name)
        waiting.join(300)
    assert "another-host:4711 is promoting birds; waiting for it" in caplog.text
