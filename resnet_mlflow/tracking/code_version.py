"""The code and packages behind a run's numbers, in addition to the commit that MLflow tags."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resnet_mlflow.devices import processor

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "scikit-learn", "scikit-learn-intelex", "numpy", "scipy", "optuna", "mlflow")


@cache
def code_tags() -> dict[str, str]:
    """Return ``environment`` (Python and packages), ``processor`` and, inside a git repository, ``git_dirty``.

    ``git_dirty`` is ``true`` if tracked files have uncommitted changes: the commit alone then does not reproduce the
    numbers.
    """
    found = [f"{name} {number}" for name in PACKAGES if (number := _version(name))]
    environment = ", ".join([f"Python {platform.python_version()}", *found, platform.platform()])
    tags = {"environment": environment, "processor": processor()}
    dirty = _is_dirty()
    return tags if dirty is None else tags | {"git_dirty": str(dirty).lower()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_dirty() -> bool | None:
    if not (ROOT / "pyproject.toml").exists():
        return None  # installed, possibly inside another project's repository
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or not a repository
    return bool(done.stdout.strip())
