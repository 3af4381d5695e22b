"""Stores that cannot be used: one line that says what and what to do, whatever MLflow makes of it."""

import http.server
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path

import forked
import mlflow
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import connect, find_experiment, find_runs, stage_run
from resnet_mlflow.tracking.opening import open_store

PROJECT = Path(__file__).parents[2]
CONFIG = FitHeadConfig(dataset="digits")


def refusal():
    with pytest.raises(InputError) as refused, stage_run("fit_head", CONFIG, "a name", {}):
        pass
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:mlruns", "write sqlite:///PATH/mlflow.db"),
        ("a/plain/path", "write sqlite:///PATH/mlflow.db"),
        ("sqlite://", "must be a file"),
        ("sqlite:////proc/x.db", "No such file"),
        ("sqlite:///" + "n" * 300 + ".db", "got File name too long"),
        ("ftp://host/x", "must accept runs"),
        ("mysql://user:secret@127.0.0.1:1/x", "got no answer from mysql://127.0.0.1:1/x"),
        ("postgresql://user:secret@127.0.0.1:1/x", "got no answer from postgresql://127.0.0.1:1/x"),
        ("postgresql://user:secret@host:port/x", "got no answer from postgresql://host:port/x"),
        ("http://127.0.0.1:1", "got no answer from http://127.0.0.1:1"),
        ("http://user:secret@127.0.0.1:1", "got no answer from http://127.0.0.1:1"),
    ],
)
def test_stage_run_refuses_a_store_that_is_none(store, uri, message):
    mlflow.set_tracking_uri(uri)
    line = refusal()
    assert message in line
    assert "secret" not in line


def test_stage_run_refuses_a_file_that_is_no_database(store, tmp_path):
    (tmp_path / "text.db").write_text("no database " * 1000)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'text.db'}")
    assert "file is not a database" in refusal()
    assert (tmp_path / "text.db").read_text().startswith("no database")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MLFLOW_EXPERIMENT_ID", "4711", "set MLFLOW_EXPERIMENT_ID to an experiment of this store"),
        ("MLFLOW_EXPERIMENT_ID", "no number", "set MLFLOW_EXPERIMENT_ID to an experiment of this store"),
        ("MLFLOW_RUN_ID", "0" * 32, "set MLFLOW_RUN_ID to a run of this store"),
        ("MLFLOW_RUN_ID", "../x", "must accept runs"),
    ],
)
def test_stage_run_refuses_what_the_environment_names_wrongly(store, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    assert message in refusal()


@pytest.mark.parametrize("named", [False, True])
def test_stage_run_refuses_a_deleted_experiment(store, monkeypatch, named):
    connect()
    mlflow.delete_experiment(mlflow.get_experiment_by_name("resnet-mlflow").experiment_id)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    if named:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow")
    assert "got 'resnet-mlflow', which was deleted; restore it" in refusal()


def test_stage_run_refuses_artifacts_whose_client_is_not_installed(store, monkeypatch):
    pytest.importorskip("mlflow")
    mlflow.create_experiment("away", artifact_location="s3://bucket/x")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "away")
    monkeypatch.setattr("resnet_mlflow.tracking.opening.CLIENTS", {"s3": ("no_such_module.x", "resnet-mlflow[s3]")})
    assert "pip install resnet-mlflow[s3]" in refusal()


@contextmanager
def answering(status, body, length=None):
    """A server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "length", "message"),
    [
        (500, b"broken", None, "500 error responses"),
        (401, b"who are you", None, "set MLFLOW_TRACKING_USERNAME"),
        (403, b"not you", None, "ask the server's administrator"),
        (404, b"not here", None, "is the address of an MLflow server"),
        (200, b"<html>a page</html>", None, "is the address of an MLflow server"),
        (200, b'{"experiment": {"experi', 4000, "is the address of an MLflow server"),
        (200, b"[1, 2]", None, "is the address of an MLflow server"),
        (200, b"{}", None, "is the address of an MLflow server"),
        (200, b"", None, "is the address of an MLflow server"),
    ],
)
def test_stage_run_refuses_a_server_that_is_none(store, monkeypatch, status, body, length, message):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(status, body, length) as uri:
        mlflow.set_tracking_uri(uri)
        assert message in refusal()
        with pytest.raises(InputError):
            find_experiment("any")


MAKE_AND_DIE = """
import os, sys
import mlflow.store.db.utils as utils
made = utils._upgrade_db
def die(engine):
    if sys.argv[2] == "after":
        made(engine)
    os.kill(os.getpid(), 9)
utils._upgrade_db = die
from resnet_mlflow.tracking.opening import open_store
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
open_store(sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_open_store_makes_a_store_whole_or_not_at_all(store, tmp_path, moment):
    path = tmp_path / "new.db"
    uri = f"sqlite:///{path}"
    killed = forked.run(["-c", MAKE_AND_DIE, uri, moment], cwd=PROJECT)
    assert killed.returncode == -9, killed.stderr
    assert not path.exists()
    mlflow.set_tracking_uri(uri)
    open_store(uri)
    assert find_runs({}) == []
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def half_made(path: Path) -> None:
    """A store as MLflow leaves it that is killed while it makes one."""
    whole = sqlite3.connect(path)
    whole.execute("UPDATE alembic_version SET version_num = '89d4b8295536'")
    whole.commit()
    whole.close()


def test_open_store_replaces_a_half_made_store_without_runs(store, tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_mlflow.tracking.opening.WAIT_S", 0.0)
    half_made(tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'again.db'}"
    (tmp_path / "mlflow.db").rename(tmp_path / "again.db")
    mlflow.set_tracking_uri(uri)
    open_store(uri)
    assert (tmp_path / "again.db.half-made").is_file()


def test_open_store_touches_no_store_with_runs(store, tmp_path, monkeypatch):
    with stage_run("fit_head", CONFIG, "a name", {}):
        pass
    monkeypatch.setattr("resnet_mlflow.tracking.opening.WAIT_S", 0.0)
    half_made(tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db").rename(tmp_path / "again.db")
    uri = f"sqlite:///{tmp_path / 'again.db'}"
    mlflow.set_tracking_uri(uri)
    with pytest.raises(InputError, match="must have the tables of this MLflow"):
        open_store(uri)
    assert not (tmp_path / "again.db.half-made").exists()


def test_find_runs_finds_values_that_filters_cannot_spell(store):
    values = ["it's", 'say "it"', 'it\'s "both"', "back\\slash", "100 % sure", "a`b", "it_s"]
    for value in values:
        with stage_run("fit_head", CONFIG, "a name", {"dataset": value}):
            pass
    for value in values:
        assert [run.data.tags["dataset"] for run in find_runs({"dataset": value})] == [value]
