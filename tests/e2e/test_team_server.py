"""A team's server: PostgreSQL behind it, artifacts on S3, and a password before it."""

import contextlib
import sqlite3

import mlflow
import pytest
from mlflow_server import free_port, start_server, stop_server
from processes import start
from werkzeug.security import generate_password_hash

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")

pytestmark = pytest.mark.slow

SMALL = ("--image_size", "16", "--weights", "random", "--precision", "fp32")
TUNING = (*SMALL, "--head", "knn", "--n_trials", "6")
PASSWORD = "correct horse battery"
AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = ada
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@pytest.fixture
def bucket(monkeypatch):
    """The endpoint of a store like S3 on loopback, and a client of it; ``team`` is there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = moto_server.ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    store.start()
    address = "http://{}:{}".format(*store.get_host_and_port())
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="team")
    yield address, client
    store.stop()


def _make_password_cheap(users):
    """Hash the password by one round: each of a thousand requests checks it, which takes 0.1 s with MLflow's."""
    cheap = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
    with contextlib.closing(sqlite3.connect(users)) as database, database:
        assert database.execute("UPDATE users SET password_hash = ? WHERE username = 'ada'", [cheap]).rowcount == 1


@pytest.fixture
def team(store, tmp_path, postgres_tcp, bucket, monkeypatch):
    """The environment of somebody who knows the password of a server."""
    (tmp_path / "auth.ini").write_text(AUTH.format(folder=tmp_path, password=PASSWORD))
    port = free_port()
    server = start_server(
        tmp_path, port, "--app-name", "basic-auth",
        store=postgres_tcp, artifacts="s3://team",
        MLFLOW_AUTH_CONFIG_PATH=str(tmp_path / "auth.ini"), MLFLOW_FLASK_SERVER_SECRET_KEY="secret",
        MLFLOW_S3_ENDPOINT_URL=bucket[0],
    )  # fmt: skip
    _make_password_cheap(tmp_path / "users.db")
    known = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(known["MLFLOW_TRACKING_URI"])
    try:
        yield known
    finally:
        stop_server(server)


def test_a_team_tunes_promotes_and_compares_on_its_server(
    team, bucket, run_module, new_database, postgres_server, tmp_path
):
    trials = f"postgresql+psycopg://postgres@127.0.0.1:{postgres_server[1]}/{new_database()}"
    refused = run_module("fit_head", *SMALL, MLFLOW_TRACKING_PASSWORD="wrong")
    assert (refused.returncode, refused.stderr.count("error: "), "Traceback" in refused.stderr) == (2, 1, False)

    assert run_module("extract", *SMALL).returncode == 0
    started = [start("fit_head", *TUNING, "--storage", trials) for _ in range(4)]
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * 4, ended
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list", max_results=1000)
    stages = [run.data.tags.get("stage") for run in runs if run.info.status == "FINISHED"]
    assert (stages.count("trial"), stages.count("fit_head"), stages.count("extract")) == (6, 1, 1)

    for stage, *arguments in (("promote",), ("compare", "--output", str(tmp_path / "report"))):
        ran = run_module(stage, *arguments)
        assert ran.returncode == 0, ran.stderr
    assert mlflow.MlflowClient().get_model_version_by_alias("digits-classifier", "champion").version == "1"
    assert (tmp_path / "report" / "report.html").is_file()
    stored = {entry["Key"] for entry in bucket[1].list_objects_v2(Bucket="team")["Contents"]}
    assert any(key.endswith("confusion_matrix.png") for key in stored)
    assert any(key.endswith("MLmodel") for key in stored)
