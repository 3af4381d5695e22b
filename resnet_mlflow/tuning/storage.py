"""Storage of a study: a journal file or a database, with a lock and heartbeats shared by its processes."""

import glob
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

from resnet_mlflow.errors import InputError
from resnet_mlflow.process import process_name

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

CONNECT_TIMEOUT_S = 10
# Number of heartbeats that may be missed: a busy machine or a slow database must not look like a dead process.
MISSED_BEATS = 6
# Processes that open an empty database at the same time conflict when they create tables.
CREATION_TRIES = 5
WORKER = "worker"
_WORKER = re.compile(r"[\w.-]{1,100}:[0-9]+:[0-9a-f]+")


class SharedStorage(Protocol):
    """An Optuna storage shared by several processes."""

    @property
    def backend(self) -> "optuna.storages.BaseStorage":
        """Return Optuna's own object."""

    @property
    def place(self) -> str:
        """Return its address, without a password."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return a context that excludes all other processes; it is not reentrant."""

    def claim(self, trial: "optuna.Trial") -> None:
        """Mark a trial as this process's; call this while holding the lock."""

    def beating(self, trial: "optuna.Trial") -> AbstractContextManager[None]:
        """Return a context that shows that the process of the trial is alive."""

    def fail_dead(self, study: "optuna.Study") -> None:
        """Fail running trials of dead processes; call this while holding the lock."""


def open_storage(url: str, default: Path, heartbeat_s: int) -> SharedStorage:
    """Return the storage at a URL; it is created if missing.

    Args:
        url: URL of a database, as in Optuna and SQLAlchemy; the path of a ``.journal`` file; or empty for ``default``.
        default: The journal file for an empty URL.
        heartbeat_s: Seconds between the heartbeats of a trial in a database.

    Raises:
        InputError: If it is neither, or cannot be reached.
    """
    if "://" in url:
        return DatabaseStorage(url, heartbeat_s)
    if url and not url.endswith(".journal"):
        raise InputError(
            f"storage must be a database such as sqlite:///study.db or postgresql://host/name, or a file that ends in "
            f".journal, got {url!r}; leave it out for a journal in the cache folder"
        )
    return JournalStorage(Path(url) if url else default)


class _JournalLock:
    """Optuna's journal lock as a lock of the operating system, which is released when its process ends."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.writing")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class JournalStorage:
    """A journal file; each worker holds a lock on its own file, so that a killed worker is noticed at once."""

    def __init__(self, path: Path) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.backend = optuna.storages.JournalStorage(
                JournalFileBackend(str(path), lock_obj=_JournalLock(path))  # type: ignore[arg-type]
            )
        except OSError as error:
            raise InputError(f"storage must be a writable file, got {path} ({error.strerror})") from None
        self.place = str(path)
        self._path = path
        self._me = f"{process_name()}:{time.time_ns():x}"
        for sign in path.parent.glob(f"{glob.escape(path.name)}.*.alive"):
            self._is_free(sign)
        self._alive = FileLock(self._sign(self._me))
        self._alive.acquire()

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return the lock of a file next to the journal."""
        return _entered(FileLock(f"{self._path}.{name}"))

    def claim(self, trial: "optuna.Trial") -> None:
        """Write this process's name to the trial."""
        trial.set_user_attr(WORKER, self._me)

    def beating(self, trial: "optuna.Trial") -> AbstractContextManager[None]:
        """Return an empty context: the lock held is the sign of life."""
        return nullcontext()

    def fail_dead(self, study: "optuna.Study") -> None:
        """Fail running trials if their worker's lock is free."""
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_dead(str(trial.user_attrs.get(WORKER, ""))):
                study.tell(trial.number, state=TrialState.FAIL)

    def _is_dead(self, worker: str) -> bool:
        if worker == self._me:
            return False
        if not _WORKER.fullmatch(worker):  # The journal is a file that others may write to; a name becomes a path.
            return True
        return self._is_free(self._sign(worker))

    def _is_free(self, sign: Path) -> bool:
        """Return whether no process holds a heartbeat file, and if so remove it."""
        if not sign.exists():
            return True
        try:
            with FileLock(sign, timeout=0):
                sign.unlink(missing_ok=True)
            return True
        except Timeout:
            return False

    def _sign(self, worker: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{worker.replace(':', '-')}.alive")

    def __del__(self) -> None:
        if hasattr(self, "_alive"):
            self._alive.release()
            self._sign(self._me).unlink(missing_ok=True)


class DatabaseStorage:
    """A database; a trial's worker writes the time to it, and counts as dead when it stops."""

    def __init__(self, url: str, heartbeat_s: int) -> None:
        import sqlalchemy

        self.heartbeat_s = heartbeat_s
        try:
            parsed = _with_installed_driver(sqlalchemy.engine.make_url(url))
            self.place = parsed.render_as_string(hide_password=True)
            self.backend = _create_database(parsed, heartbeat_s)
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise InputError(
                f"storage must be a URL that SQLAlchemy can open, got {url.split('@')[-1]!r} ({_reason(error)}); for "
                f"example postgresql://host/name, and install resnet-mlflow[postgres] for PostgreSQL"
            ) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise InputError(
                f"storage must be a reachable database, got no answer from {self.place} ({_reason(error)}); "
                "start it, or leave storage out for a journal in the cache folder"
            ) from None

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Return the database's own lock, or for SQLite that of a file next to the database."""
        engine = self.backend.engine
        if engine.dialect.name == "sqlite":
            return _entered(FileLock(f"{engine.url.database}.{name}"))
        return _locked_in(engine, name)

    def claim(self, trial: "optuna.Trial") -> None:
        """Write the first heartbeat, then this process's name, to the trial."""
        self.backend.record_heartbeat(trial._trial_id)
        trial.set_user_attr(WORKER, process_name())

    @contextmanager
    def beating(self, trial: "optuna.Trial") -> Iterator[None]:
        """Write the time to the trial from another thread, until the block ends."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.heartbeat_s):
                self.backend.record_heartbeat(trial._trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def fail_dead(self, study: "optuna.Study") -> None:
        """Fail running trials if their heartbeat has stopped, or their process was killed before the first one."""
        import optuna
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if WORKER not in trial.user_attrs:
                study.tell(trial.number, state=TrialState.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)


def _create_database(url: "sqlalchemy.URL", heartbeat_s: int) -> "optuna.storages.RDBStorage":
    import optuna
    import sqlalchemy

    connect_args = {"connect_timeout": CONNECT_TIMEOUT_S} if url.get_backend_name() in ("postgresql", "mysql") else {}
    for tries_left in reversed(range(CREATION_TRIES)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.RDBStorage(
                    url.render_as_string(hide_password=False),
                    engine_kwargs={"connect_args": connect_args},
                    heartbeat_interval=heartbeat_s,
                    grace_period=MISSED_BEATS * heartbeat_s,
                )
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            if not tries_left:
                raise
            time.sleep(0.2 * (1 + os.getpid() % 5))
    raise AssertionError("the last try returns or raises")


def _with_installed_driver(url: "sqlalchemy.URL") -> "sqlalchemy.URL":
    # SQLAlchemy defaults to psycopg2; this project's extra installs its successor.
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def _entered(lock: FileLock) -> Iterator[None]:
    with lock:
        yield


@contextmanager
def _locked_in(engine: "sqlalchemy.Engine", name: str) -> Iterator[None]:
    """Hold a lock of the database, which the database releases if the process dies."""
    import sqlalchemy

    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        else:
            # A row that is in every Optuna database and that nothing else locks.
            connection.execute(sqlalchemy.text("SELECT version_info_id FROM version_info FOR UPDATE"))
        yield
