"""The console command ``resnet-mlflow``: every entry point, and the analysis, as a subcommand."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from resnet_mlflow import __version__
from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import ENTRY_POINTS
from resnet_mlflow.errors import nearest

ANALYSIS = "analysis"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the subcommand given by the arguments, and exit with its code; 2 if there is no such subcommand."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        sys.exit(0)
    if words[0] == "--version":
        print(f"resnet-mlflow {__version__}")
        sys.exit(0)
    name, *arguments = words
    if name == ANALYSIS:
        from analysis.cli import main as analyse

        analyse(arguments, prog="resnet-mlflow analysis")
    known = [*ENTRY_POINTS, ANALYSIS]
    if name not in ENTRY_POINTS:
        hint = nearest(name, known)
        print(f"error: command must be one of {', '.join(known)}, got {name!r}{hint}", file=sys.stderr)
        sys.exit(2)
    script = import_module(f"entrypoints.{name}")
    run_entry_point(ENTRY_POINTS[name], script.run, arguments, prog=f"resnet-mlflow {name}")


def _help() -> str:
    descriptions = {name: config.__doc__ or "" for name, config in ENTRY_POINTS.items()}
    descriptions[ANALYSIS] = "Reports, tables, and the evidence behind a run."
    lines = [f"  {name:<12}{text.splitlines()[0]}" for name, text in descriptions.items()]
    return "\n".join(
        [
            "usage: resnet-mlflow COMMAND [--parameter VALUE ...]",
            "",
            "Compare image classifiers on ResNet backbones, tracked in MLflow.",
            "",
            *lines,
            "",
            "resnet-mlflow COMMAND --help lists a command's parameters; resnet-mlflow --version prints the version.",
        ]
    )


if __name__ == "__main__":
    main()
