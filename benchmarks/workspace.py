"""A temporary folder with its own feature store and tracking store, and processes that use them."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNSET = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@dataclass(frozen=True)
class Finished:
    """Time and memory of a process."""

    taken_s: float
    peak_rss_mib: float


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield an empty working folder with its own stores; all of it is deleted at the end."""
    before, environment = Path.cwd(), dict(os.environ)
    for noisy in ("alembic", "mlflow", "resnet_mlflow", "sklearnex"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="resnet-mlflow-bench-") as name:
        folder = Path(name)
        for variable in _UNSET:
            os.environ.pop(variable, None)
        os.environ["RESNET_MLFLOW_CACHE"] = str(folder / "cache")
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


def run_entry_point(name: str, *arguments: str) -> Finished:
    """Return time and peak memory of ``python -m entrypoints.<name>``, from its start to its exit.

    Raises:
        RuntimeError: If it fails; with the end of its output.
    """
    command = [sys.executable, "-m", f"entrypoints.{name}", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | project_path())
        # Only wait4 returns the memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {output.read()[-2000:]}")
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return Finished(taken, usage.ru_maxrss / per_mib)


def project_path() -> dict[str, str]:
    """Return the environment variable with which a process in a temporary folder finds the project."""
    return {"PYTHONPATH": str(Path(__file__).parents[1])}
