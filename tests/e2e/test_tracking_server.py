"""A real MLflow server: the stages on it, and what happens when it goes away."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest

PROJECT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder, port):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts"), "--workers", "1"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return process
        except OSError:
            time.sleep(0.3)
    stop_server(process)
    raise TimeoutError("the MLflow server did not start")


def stop_server(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def server_folder(tmp_path, store):
    folder = tmp_path / "server"
    folder.mkdir()
    (tmp_path / "mlflow.db").rename(folder / "mlflow.db")
    return folder


def test_stages_run_on_a_server_and_outlive_its_absence(server_folder, run_module, tmp_path, monkeypatch):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    environment = {"MLFLOW_TRACKING_URI": uri, "RESNET_MLFLOW_CACHE": str(tmp_path / "cache")}
    training = ("--train_layers", "layer4", "--epochs", "4", "--precision", "fp32", "--image_size", "16")

    server = start_server(server_folder, port)
    try:
        ran = run_module("fit_head", "--head", "prototype", **environment)
        assert ran.returncode == 0, ran.stderr
        # The server goes away in the middle of a training ...
        command = [sys.executable, "-m", "entrypoints.finetune", *training]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=os.environ | environment
        )
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("epoch 1:"):
                stop_server(server)
        assert process.wait(timeout=120) == 2, "".join(said)
        process.stderr.close()
    finally:
        if server.poll() is None:
            stop_server(server)
    assert any(line.startswith("epoch 4:") for line in said), "the training goes on without the server"
    (message,) = [line for line in said if line.startswith("error: ")]
    assert "run the same command again when the store is back" in message
    assert "Traceback" not in "".join(said)

    # ... while it is away, a stage says so at once ...
    start = time.monotonic()
    ran = run_module("fit_head", "--head", "prototype", **environment)
    assert ran.returncode == 2
    assert f"no answer from {uri}" in ran.stderr
    assert time.monotonic() - start < 30

    # ... and when it is back, the same command finishes without training again.
    server = start_server(server_folder, port)
    try:
        ran = run_module("finetune", *training, **environment)
        assert ran.returncode == 0, ran.stderr
        assert "epoch 1:" not in ran.stderr
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        (run,) = mlflow.search_runs(
            search_all_experiments=True, filter_string="tags.stage = 'finetune'", output_format="list"
        )
        assert run.info.status == "FINISHED"
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in sorted(history, key=lambda point: point.step)] == [1, 2, 3, 4]
    finally:
        stop_server(server)
