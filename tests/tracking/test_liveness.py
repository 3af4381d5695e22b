"""Runs whose processes are gone: whoever starts next ends them, and nobody else's."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import forked
import mlflow
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.process import process_mark
from resnet_mlflow.tracking import connect, stage_run
from resnet_mlflow.tracking.liveness import ALIVE_AT, PROCESS, SILENT_S, is_abandoned

CONFIG = FitHeadConfig(dataset="digits")


@pytest.fixture(scope="module")
def dead_mark():
    """The mark of a process that has ended."""
    code = "from resnet_mlflow.process import process_mark; print(process_mark())"
    message = forked.run(["-c", code], cwd=Path(__file__).parents[2])
    return message.stdout.strip()


def running(**tags):
    connect()
    experiment = mlflow.get_experiment_by_name("resnet-mlflow").experiment_id
    return mlflow.MlflowClient().create_run(experiment, tags={"stage": "fit_head", **tags}).info.run_id


def after_another_start(run_id):
    with stage_run("fit_head", CONFIG, "another", {}):
        pass
    return mlflow.get_run(run_id)


LONG_AGO = str(int(time.time()) - 2 * SILENT_S)


def now() -> str:
    # When it is asked for: a whole test run takes longer than a process may be silent.
    return str(int(time.time()))


def test_stage_run_ends_what_dead_processes_left(store, dead_mark):
    assert after_another_start(running(process=dead_mark)).info.status == "KILLED"
    assert after_another_start(running(process=f"{dead_mark} {dead_mark}", alive_at=now())).info.status == "KILLED"
    trial = after_another_start(running(process=dead_mark, stage="trial", trial_state="running"))
    assert (trial.info.status, trial.data.tags["trial_state"]) == ("KILLED", "killed")


def test_stage_run_ends_what_gave_no_sign_elsewhere(store):
    assert after_another_start(running(process="elsewhere:1:1", alive_at=LONG_AGO)).info.status == "KILLED"


def test_stage_run_ends_what_an_earlier_version_left(store):
    number = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    worker = f"{socket.gethostname()}:{number.stdout.strip()}"
    assert after_another_start(running(worker=worker)).info.status == "KILLED"


def test_stage_run_leaves_what_lives_or_may_live(store, dead_mark):
    alive = [
        {"process": process_mark()},
        {"process": f"{dead_mark} {process_mark()}", "alive_at": LONG_AGO},
        {"process": "elsewhere:1:1", "alive_at": now()},
        {"process": f"{dead_mark} elsewhere:1:1", "alive_at": now()},
        {"process": "elsewhere:1:1"},
        {"process": "nonsense"},
        {"process": "elsewhere:1:1", "alive_at": "soon"},
        {"worker": f"{socket.gethostname()}:1"},
        {"worker": "elsewhere:4711"},
        {},
    ]
    for tags in alive:
        assert after_another_start(running(**tags)).info.status == "RUNNING", tags


def test_stage_run_of_other_projects_is_left(store):
    connect()
    other = mlflow.MlflowClient().create_run("0", tags={"worker": f"{socket.gethostname()}:99999999"}).info.run_id
    assert after_another_start(other).info.status == "RUNNING"


def test_stage_run_is_alive_while_it_runs_and_when_it_is_resumed(store, dead_mark):
    with stage_run("finetune", CONFIG, "a name", {}) as first:
        tags = mlflow.get_run(first.run_id).data.tags
        assert tags[PROCESS] == process_mark()
        assert int(tags[ALIVE_AT]) <= time.time()
        assert not is_abandoned(tags)
    mlflow.MlflowClient().set_tag(first.run_id, PROCESS, dead_mark)
    with stage_run("finetune", CONFIG, "a name", {}, resume=first.run_id) as again:
        assert mlflow.get_run(again.run_id).data.tags[PROCESS] == process_mark()


def test_beating_writes_the_time(store, monkeypatch):
    monkeypatch.setattr("resnet_mlflow.tracking.liveness.BEAT_S", 0.05)
    with stage_run("finetune", CONFIG, "a name", {}) as run:
        mlflow.set_tag(ALIVE_AT, "0")
        while mlflow.get_run(run.run_id).data.tags[ALIVE_AT] == "0":
            time.sleep(0.05)
