"""Opens a tracking store for the first time: its tables exist completely or not at all."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import mlflow

from resnet_mlflow.errors import InputError
from resnet_mlflow.process import is_gone, process_mark

if TYPE_CHECKING:
    import sqlalchemy

CONNECT_TIMEOUT_S = 5
# Another program may be creating the tables at this moment, which takes some seconds.
TRIES, WAIT_S = 6, 2.0
HALF_MADE = ("already exists", "duplicate column", "no such table", "out-of-date database schema", "no such column")
# Packages that MLflow needs for artifacts at each kind of address, and the extra that installs them.
CLIENTS = {"s3": ("boto3", "resnet-mlflow[s3]"), "gs": ("google.cloud.storage", "google-cloud-storage")}
# Any number works that no other program locks: here, "resnet-mlflow".
LOCK_KEY = 0x7265736E6574


def store_uri() -> str:
    """Return the address of the store for runs."""
    return str(mlflow.get_tracking_uri())


def open_store(uri: str) -> None:
    """Open a store, and create its tables if it has none.

    Raises:
        InputError: If a SQLite file is not usable.
        Exception: Anything else that MLflow and its database layer raise.
    """
    kind = uri.partition(":")[0].partition("+")[0]
    if kind == "sqlite":
        _open_file(_file_of(uri))
    elif kind in ("postgresql", "mysql", "mssql"):
        _open_database(uri)
    else:
        mlflow.MlflowClient().search_experiments(max_results=1)


def check_artifacts(location: str) -> None:
    """Refuse an artifact location if its client is not installed.

    Raises:
        InputError: If the client is missing.
    """
    module, package = CLIENTS.get(urlsplit(location).scheme, ("", ""))
    if module and not _is_installed(module):
        raise InputError(
            f"artifacts at {location} need their client library, got no module {module}; pip install {package}"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # for the parent package
        return False


def _file_of(uri: str) -> Path:
    import sqlalchemy

    name = sqlalchemy.engine.make_url(uri).database
    if not name or name == ":memory:":
        raise InputError(f"a SQLite store must be a file, got {uri!r}; write sqlite:///PATH/mlflow.db")
    return Path(name).absolute()


def _open_file(path: Path) -> None:
    """Open a SQLite store; a new one is created next to its place, since MLflow cannot continue an incomplete one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    if not path.exists() or path.stat().st_size == 0:
        _make_beside(path)
    with closing(sqlite3.connect(path)) as database:  # MLflow would retry for minutes.
        database.execute("PRAGMA schema_version")
    for tries_left in reversed(range(TRIES)):
        try:
            mlflow.MlflowClient().search_experiments(max_results=1)
            return
        except Exception as error:
            if not any(said in str(error) for said in HALF_MADE):
                raise
            if not tries_left:
                break
        time.sleep(WAIT_S)
    _set_aside(path)
    _make_beside(path)
    mlflow.MlflowClient().search_experiments(max_results=1)


def _make_beside(path: Path) -> None:
    beside = path.with_name(f".{path.name}.{process_mark().replace(':', '-')}.partial")
    try:
        beside.touch()  # MLflow would retry for minutes.
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{beside}").search_experiments(max_results=1)
        _forget(f"sqlite:///{beside}")
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        with suppress(FileExistsError):  # Another process was first: its store is equally good.
            os.link(beside, path)
    finally:
        for leftover in (beside, beside.with_name(f"{beside.name}-journal")):
            leftover.unlink(missing_ok=True)


def _forget(uri: str) -> None:
    """Close MLflow's connections to a database that will be renamed."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.pop(uri, None)
    if engine is not None:
        engine.dispose()


def _remove_leftovers(path: Path) -> None:
    """Remove leftovers of processes that were killed while they created the store."""
    for partial in path.parent.glob(f".{path.name}.*.partial*"):
        mark = partial.name.removeprefix(f".{path.name}.").partition(".partial")[0]
        if is_gone(mark.replace("-", ":")):
            partial.unlink(missing_ok=True)


def _set_aside(path: Path) -> None:
    """Rename an incomplete store without runs or experiments, so that a complete one can be created.

    Raises:
        InputError: If it has runs or experiments.
    """
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:
        n_runs, n_experiments = (
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("runs", "experiments")
        )
        if n_runs or n_experiments > 1:
            raise InputError(
                f"the tracking store {path} must have the tables of this MLflow version, got others; back it up and "
                f"run `mlflow db upgrade sqlite:///{path}`, or set MLFLOW_TRACKING_URI to another store"
            )
    path.rename(path.with_name(f"{path.name}.half-made"))
    _forget(store_uri())


def _open_database(uri: str) -> None:
    """Open a database on a server; in MLflow, two processes that create its tables at once fail."""
    import sqlalchemy

    # MLflow itself would retry for minutes.
    knock(uri)
    backend = sqlalchemy.engine.make_url(uri).get_backend_name()
    arguments = {"connect_timeout": CONNECT_TIMEOUT_S} if backend in ("postgresql", "mysql") else {}
    engine = sqlalchemy.create_engine(uri, connect_args=arguments, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        _lock(connection, backend)  # until the connection closes
        mlflow.MlflowClient().search_experiments(max_results=1)


def _lock(connection: "sqlalchemy.Connection", backend: str) -> None:
    import sqlalchemy

    statements = {
        "postgresql": f"SELECT pg_advisory_lock({LOCK_KEY})",
        "mysql": "SELECT GET_LOCK('resnet-mlflow', 60)",
    }
    if backend in statements:
        connection.execute(sqlalchemy.text(statements[backend]))


DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def knock(uri: str) -> None:
    """Check that the server of a database answers; one reached by a socket in a folder is not checked.

    Raises:
        InputError: If it does not within seconds.
    """
    import socket

    parts = urlsplit(uri)
    if parts.hostname is None and "host" in parse_qs(parts.query):
        return
    default_port = DATABASE_PORTS[parts.scheme.split("+")[0]]
    try:
        address = (parts.hostname or "localhost", parts.port or default_port)
        socket.create_connection(address, CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        shown = f"{parts.scheme}://{parts.hostname}:{parts.netloc.rpartition(':')[2] or default_port}{parts.path}"
        raise InputError(
            f"the tracking store must answer, got no answer from {shown} ({error}); start the database, or set "
            "MLFLOW_TRACKING_URI"
        ) from None
