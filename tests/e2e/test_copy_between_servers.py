"""A champion is brought from a SQLite store to an MLflow server over HTTP by `mlflow run`, and rolled back there."""

import mlflow
import numpy as np
import pytest
from mlflow_server import free_port, start_server, stop_server

from resnet_mlflow.config import FitHeadConfig, PromoteConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import aliases_of, load_served, other_store, read_history

NAME = "digits-classifier"


@pytest.fixture
def server(tmp_path):
    """The address of a server with a store of its own."""
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    process = start_server(folder, port)
    yield f"http://127.0.0.1:{port}"
    stop_server(process)


def test_a_champion_goes_to_a_server_and_is_served_alike(store, server, mlflow_run):
    for head in ("prototype", "svm"):
        run_fit_head(FitHeadConfig(head=head, weights="random"))
        promoted = run_promote(PromoteConfig(calibrate="none"))
        ran = mlflow_run("promote", "action=copy", f"target_uri={server}", f"model_name={NAME}", "reason=release")
        assert ran.returncode == 0, ran.stderr
        assert "WARNING" not in ran.stderr
        assert f"{NAME} version {promoted.version} of {server} is champion; all digests are equal" in ran.stderr
    images = load_digits().splits["test"]
    pixels = np.stack([images.read_image(row) for row in range(8)])
    here = load_served(f"models:/{NAME}@champion").predict(pixels)
    with other_store(server, "resnet-mlflow"):
        assert load_served(f"models:/{NAME}@champion").predict(pixels).equals(here)
        assert aliases_of(NAME) == {"champion": "2", "challenger": "1"}
        run_promote(PromoteConfig(action="rollback", model_name=NAME, reason="slow"))
        assert aliases_of(NAME) == {"champion": "1", "challenger": "2"}
        assert [entry.action for entry in read_history(NAME).entries] == ["copy", "copy", "rollback"]
    assert mlflow.get_tracking_uri() == store
    assert aliases_of(NAME) == {"champion": "2", "challenger": "1"}
    assert mlflow.MlflowClient().get_model_version(NAME, "2").tags["copied_to"] == f"{server} version 2"
