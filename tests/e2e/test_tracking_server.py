"""A real MLflow server: the stages on it, and what happens when it goes away."""

import time
from pathlib import Path

import mlflow
import pytest
from mlflow_server import free_port, start_server, stop_server
from processes import start

PROJECT = Path(__file__).parents[2]


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
        process = start("finetune", *training, **environment)
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
    assert "run the same command again when the store is available" in message
    assert "Traceback" not in "".join(said)

    # ... while it is away, a stage says so at once ...
    began = time.monotonic()
    ran = run_module("fit_head", "--head", "prototype", **environment)
    assert ran.returncode == 2
    assert f"no answer from {uri}" in ran.stderr
    assert time.monotonic() - began < 30

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
