"""How a test adds a row and then goes through the command line with it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import pytest

PROJECT = Path(__file__).parents[2]
# What a user's own package would do: import the module that adds the row, then run the program.
BOOT = (
    "import importlib, runpy, sys; _, module, program, *_ = sys.argv; sys.argv = sys.argv[2:]; "
    "importlib.import_module(module).add(); runpy.run_module(program, run_name='__main__', alter_sys=True)"
)


@pytest.fixture
def run_added(store: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call ``add`` of a test module in a new process, then run a program such as ``entrypoints.longtail`` in it."""

    def run(test_file: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(PROJECT), str(Path(test_file).parent)))
        arguments = ("-c", BOOT, Path(test_file).stem, program, *arguments)
        return forked.run(arguments, env=os.environ | {"PYTHONPATH": path})

    return run
