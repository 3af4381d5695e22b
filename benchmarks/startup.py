"""Startup time of entry points: their help, and the import of their stages."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Row, limit_row, seconds
from benchmarks.workspace import project_path
from resnet_mlflow.config import ENTRY_POINTS

# compare only reads runs: its code is the package `analysis`.
_STAGES = Path(__file__).parents[1] / "resnet_mlflow" / "stages"


def helps(folder: Path, quick: bool) -> list[Row]:
    """Return seconds for ``--help`` of every entry point, from the start of the process to its exit."""
    return [
        _started(f"`python -m entrypoints.{name} --help`", 1.0, ["-m", f"entrypoints.{name}", "--help"], quick)
        for name in ENTRY_POINTS
    ]


def stages(folder: Path, quick: bool) -> list[Row]:
    """Return seconds to import the stage of every entry point, including libraries, in a new process of its own."""
    as_command = "from resnet_mlflow.process import claim; claim(); import resnet_mlflow.stages."
    return [
        _started(f"import of stage `{name}`", 3.0, ["-c", as_command + name], quick)
        for name in ENTRY_POINTS
        if (_STAGES / f"{name}.py").exists()
    ]


def _started(what: str, limit: float, arguments: list[str], quick: bool) -> Row:
    def start() -> None:
        subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ | project_path()
        )

    start()
    return limit_row(what, limit, [seconds(start) for _ in range(1 if quick else 7)], unit="s")
