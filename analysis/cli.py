"""``python -m analysis``: the report of an experiment, one of its tables, or the evidence behind a run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from resnet_mlflow.config import CompareConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError, nearest, of_place
from resnet_mlflow.files.scratch import process_scratch
from resnet_mlflow.terminal import start_logging

FILTERS = ("dataset", "tags", "since", "until", "parent")
DEFAULT_COMMAND = "report"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None, prog: str = "python -m analysis") -> NoReturn:
    """Run a command and exit: 0, 1 if a run was not reproduced, 2 for invalid input."""
    start_logging()
    try:
        with process_scratch():
            outcome = run(sys.argv[1:] if argv is None else argv, prog)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # As in `... | head`; otherwise Python reports the error again at exit.
        sys.exit(0)
    except Exception as error:
        known = error if isinstance(error, InputError) else of_place(error)
        if known is None:
            raise
        print(f"error: {' '.join(str(known).split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if outcome is False else 0)


def run(argv: Sequence[str], prog: str = "python -m analysis") -> object:
    """Run the command given by the arguments, by default ``report``; help and errors show ``prog``.

    Raises:
        InputError: If an argument is invalid, or the store does not contain what is requested.
    """
    first = argv[0] if argv else "--"
    named = not first.startswith("-") or first in ("-h", "--help")
    if named and not first.startswith("-") and first not in COMMANDS:
        raise InputError(f"command must be one of {', '.join(COMMANDS)}, got {first!r}{nearest(first, COMMANDS)}")
    parser = _build_parser(prog, first)
    arguments = vars(parser.parse_args(argv if named else [DEFAULT_COMMAND, *argv]))
    return COMMANDS[arguments.pop("command")][0](**arguments)


def _build_parser(prog: str, first: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, (_, text, positional) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_table_names() if name == first == "table" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for argument in positional:
            command.add_argument(argument)
        for option in OPTIONS.get(name, ()):
            field = CompareConfig.model_fields[option]
            words = f"{field.description} Default: {field.default!r}.".replace("%", "%%")
            command.add_argument(f"--{option}", default=argparse.SUPPRESS, metavar="VALUE", help=words)
    return parser


def _table_names() -> str:
    from analysis.tables import TABLES

    width = max(map(len, TABLES))
    return "tables:\n" + "\n".join(f"  {row.name:{width}}  {row.question}" for row in TABLES.values())


def _report(**given: str) -> None:
    from analysis.report import write_report

    config, filters = _read(given)
    print(write_report(config.experiment, config.output, ui_url=config.ui_url, **filters))


def _table(name: str, **given: str) -> None:
    from analysis.render import to_markdown
    from analysis.runs import load_runs
    from analysis.tables import TABLES, build_all

    row = TABLES.find(name)
    config, filters = _read(given)
    runs = load_runs(config.experiment, **filters)
    tables = build_all(name, runs.frame)
    for warning in runs.warnings:
        print(warning, file=sys.stderr)
    if not tables:
        raise InputError(
            f"table {name} needs {row.needs}, got none among {len(runs.frame)} runs of experiment "
            f"{config.experiment!r}; run them first, or widen the filters"
        )
    print("\n".join(to_markdown(table) for table in tables))


def _explain(run_id: str) -> None:
    from analysis.explain import explain

    print(explain(run_id))


def _repeat(run_id: str) -> bool:
    from analysis.repeat import repeat

    outcome = repeat(run_id)
    print(outcome.to_markdown())
    return outcome.same


def _diff(run_a: str, run_b: str, output: str = "") -> None:
    from analysis.diff import write_diff

    print(write_diff(run_a, run_b, Path(output or f"diff-{run_a[:8]}-{run_b[:8]}")))


def _history(model_name: str) -> None:
    from analysis.history import history

    print(history(model_name))


def _read(given: dict[str, str]) -> tuple[CompareConfig, dict[str, Any]]:
    config = validate(CompareConfig, dict(given))
    filters = {name: getattr(config, name) for name in FILTERS} | {"tags": config.tag_values}
    return config, filters


# By name: the function, what it does, and its required arguments.
COMMANDS: dict[str, tuple[Callable[..., object], str, tuple[str, ...]]] = {
    "report": (_report, "Write the report of an experiment and print its path.", ()),
    "table": (_table, "Print one comparison table.", ("name",)),
    "explain": (_explain, "Print the evidence behind a run's numbers, and the command that repeats it.", ("run_id",)),
    "repeat": (_repeat, "Repeat a run, and report how closely its numbers agree.", ("run_id",)),
    "diff": (_diff, "Compare two runs: parameters, metrics, confusions and individual images.", ("run_a", "run_b")),
    "history": (_history, "Print who moved a registered model's aliases, when and why.", ("model_name",)),
}
OPTIONS = {
    "report": ("experiment", "output", "ui_url", *FILTERS),
    "table": ("experiment", *FILTERS),
    "diff": ("output",),
}
