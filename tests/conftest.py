"""Stores and folders that tests share; every test writes below a temporary folder only."""

import gc
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from functools import partial
from pathlib import Path

import forked
import mlflow
import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image

from resnet_mlflow.process import MANY_OBJECTS

PROJECT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Search for garbage as our commands do, and share one process that forks, which takes seconds to start."""
    gc.set_threshold(MANY_OBJECTS)
    if getattr(config.option, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        forked.serve_all()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with its tables made, to be copied: making them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store that the tests of one process share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def use_store(cache_dir: Path) -> Callable[[Path], AbstractContextManager[str]]:
    """Make a folder's store the one that everything logs to, and the folder the working one; gives its URI."""
    return partial(_use_store, cache_dir)


@contextmanager
def _use_store(cache_dir: Path, folder: Path) -> Iterator[str]:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("RESNET_MLFLOW_CACHE", str(cache_dir))
        patch.chdir(folder)
        patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
        mlflow.set_tracking_uri(uri)
        yield uri
        while mlflow.active_run() is not None:
            mlflow.end_run("KILLED")
        mlflow.set_tracking_uri(None)


@pytest.fixture
def store(empty_store: Path, use_store: Callable, tmp_path: Path) -> Iterator[str]:
    """An empty tracking store that everything in this test logs to; gives its URI."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    with use_store(tmp_path) as uri:
        yield uri


@pytest.fixture(scope="module")
def module_store(empty_store: Path, use_store: Callable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking store that the tests of one module share; gives its URI."""
    folder = tmp_path_factory.mktemp("module")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    with use_store(folder) as uri:
        yield uri


# A study with something for every table that needs no long training.
STUDY = {
    "name": "demo",
    "features": {"weights": "random"},
    "seeds": [0, 1],
    "backbones": ["resnet18"],
    "heads": {"knn": {"k": 5}, "prototype": None, "linear": None},
    "finetune": {"fc": {"train_layers": "fc", "epochs": 2, "learning_rate": 0.01}},
    "longtail": {
        "factor20": {"imbalance_factor": 20, "methods": "tau_norm", "head_params": "{epochs: 2}", "n_trials": 2}
    },
    "few_shot": {"heads": ["prototype"], "shots": [1, 8], "samples": 2},
}


@pytest.fixture(scope="session")
def demo_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the finished study of digits and its report beside it; its URI.

    All processes of a test run share its artifacts; each has a database of its own to write to.
    """
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "study"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            _run_study(empty_store, made)
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(made, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlruns", "cache"))
    return f"sqlite:///{folder / 'mlflow.db'}"


def _run_study(empty_store: Path, folder: Path) -> None:
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    (folder / "demo.yaml").write_text(yaml.safe_dump(STUDY))
    ran = forked.run(
        ["-m", "entrypoints.main", "--study", "demo.yaml", "--report_dir", "report"],
        timeout=600,
        cwd=folder,
        env=_without_mlflow()
        | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "RESNET_MLFLOW_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(PROJECT),
        },
    )
    assert ran.returncode == 0, ran.stderr


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def as_terminal() -> AbstractContextManager[io.StringIO]:
    """Let standard error count as a terminal, which shows bars; gives what is written to it."""
    return redirect_stderr(_Terminal())


def _without_mlflow() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}


@pytest.fixture
def run_module(store: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m entrypoints.<name> --parameter value ...`` on the test's store, to its end."""

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if name == "main" and "--report_dir" not in arguments:
            # A study ends with a report in the working folder, which is the project's.
            arguments = (*arguments, "--report_dir", "")
        return forked.run(["-m", f"entrypoints.{name}", *arguments], cwd=PROJECT, env=os.environ | environment)

    return run


@pytest.fixture
def mlflow_run(store: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``mlflow run . -e <entry point> -P name=value ...`` on the test's store, to its end."""

    def run(entry_point: str, *parameters: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        if entry_point == "main" and not any(parameter.startswith("report_dir=") for parameter in parameters):
            parameters = (*parameters, "report_dir=")
        given = [part for parameter in parameters for part in ("-P", parameter)]
        # The scripts' python is found through PATH, as after `source .venv/bin/activate`.
        path = os.pathsep.join([str(forked.python().parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        command = ["-m", "mlflow", "run", str(PROJECT), "-e", entry_point, "--env-manager", "local", *given, *options]
        return forked.run(command, env=os.environ | {"PATH": path})

    return run


@pytest.fixture
def image_folder(tmp_path: Path, make_image_folder: Callable[[Path], Path]) -> Path:
    """A folder of PNG files, three classes distinguished by colour: train (10 each) and test (4 each)."""
    return make_image_folder(tmp_path)


@pytest.fixture(scope="session")
def make_image_folder() -> Callable[[Path], Path]:
    """Make, below a folder, what ``image_folder`` gives."""
    return _make_image_folder


def _make_image_folder(parent: Path) -> Path:
    rng = np.random.default_rng(0)
    root = parent / "colours"
    for split, n_images in (("train", 10), ("test", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n_images):
                pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., channel] += 130
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root
