"""A PostgreSQL server, where it is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from mlflow_server import free_port

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[tuple[Path, int]]:
    """A PostgreSQL server of this test run's own; gives the folder of its socket, and its port on loopback."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket's path has 107 characters at most
    as_owner: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]

    def server(*command: str) -> None:
        # Not a pipe: the server would inherit it, and it would never be at its end.
        with (folder.parent / f"{folder.name}.log").open("w+") as log:
            done = subprocess.run([*as_owner, *command], stdout=log, stderr=log, cwd="/", timeout=120, check=False)
            log.seek(0)
            assert done.returncode == 0, log.read()

    data, port = str(folder / "data"), free_port()
    try:
        server(str(BINARIES[-1] / "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off"
        server(str(BINARIES[-1] / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        yield folder, port
        server(str(BINARIES[-1] / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def new_database(postgres_server: tuple[Path, int]) -> Callable[[], str]:
    """Make an empty database; gives its name."""
    folder, port = postgres_server
    numbers = count()

    def make() -> str:
        name = f"test{next(numbers)}"
        command = [str(BINARIES[-1] / "createdb"), "-h", str(folder), "-p", str(port), "-U", "postgres", name]
        subprocess.run(command, check=True, timeout=60)
        return name

    return make


@pytest.fixture
def postgres(postgres_server: tuple[Path, int], new_database: Callable[[], str]) -> str:
    """The URL of an empty database, by the server's socket."""
    folder, port = postgres_server
    return f"postgresql://postgres@/{new_database()}?host={folder}&port={port}"


@pytest.fixture
def postgres_tcp(postgres_server: tuple[Path, int], new_database: Callable[[], str]) -> str:
    """The URL of an empty database, by loopback."""
    return f"postgresql+psycopg://postgres@127.0.0.1:{postgres_server[1]}/{new_database()}"
