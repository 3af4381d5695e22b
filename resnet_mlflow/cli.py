"""From an entry point's arguments to its configuration, and from errors to one line."""

import argparse
import os
import sys
import time
import typing
from collections.abc import Callable, Sequence
from typing import NoReturn

from resnet_mlflow.config import ENTRY_POINTS, Config
from resnet_mlflow.config.validation import ConfigT, unknown_parameter, validate
from resnet_mlflow.devices import keep_to_quota, wait_asleep
from resnet_mlflow.errors import InputError, of_place, printable
from resnet_mlflow.files.scratch import process_scratch
from resnet_mlflow.process import ExitCode, claim, keep_freed_memory, listen_for_stop, n_ranks, rank, stop_asked
from resnet_mlflow.terminal import VERBOSE, start_logging

# Maximum length of an error; our longest, with all parameters of a head, has 800 characters.
MAX_LINE = 2000
GRACE_S = 30


class _Parser(argparse.ArgumentParser):
    """An argument parser that leaves the printing of errors to us."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse(config_class: type[ConfigT], argv: Sequence[str], prog: str = "") -> ConfigT:
    """Return the configuration from command-line arguments.

    Args:
        config_class: The entry point's model; ``--name value`` sets its field ``name``.
        argv: Arguments without the program's name.
        prog: The command as shown in help; by default the script of ``python -m``.

    Raises:
        InputError: If a parameter is unknown, or a value breaks its rule.
    """
    parser = _build_parser(config_class, prog)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        raise InputError(unknown_parameter(unknown[0], config_class))
    given = {name: value for name, value in vars(known).items() if value is not None and name != "verbose"}
    return validate(config_class, given)


def _build_parser(config_class: type[Config], prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        description=config_class.__doc__,
        allow_abbrev=False,
        prog=prog or f"python -m entrypoints.{_script_of(config_class)}",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="Print more detail, including the steps within each cell."
    )
    for name, field in config_class.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        choices = typing.get_args(field.annotation)
        among = f" One of {', '.join(map(str, choices))}." if choices else ""
        # argparse expands % in help texts.
        text = f"{field.description}{among} Default: {default!r}.".replace("%", "%%")
        parser.add_argument(f"--{name}", metavar="VALUE", help=text)
    return parser


def run_entry_point(
    config_class: type[ConfigT],
    stage: Callable[[ConfigT], object],
    argv: Sequence[str] | None = None,
    prog: str = "",
) -> NoReturn:
    """Parse arguments, run the stage and exit: 0, 1 after failed cells, 2 for bad input, 3 after an alert.

    Args:
        config_class: The entry point's model.
        stage: Called with the configuration; the result ``False`` means that a part of it failed, and an ``ExitCode``
            is used as the exit code.
        argv: Arguments without the program's name; None means those of this process.
        prog: As for ``parse``.
    """
    given = without_verbose(sys.argv[1:] if argv is None else argv)
    start_logging()
    claim()
    # SIGTERM ends runs like Ctrl-C, with their true status.
    listen_for_stop()
    try:
        config = parse(config_class, given, prog)
        _check_ranks(config)
        keep_to_quota()
        wait_asleep()
        keep_freed_memory()
        with process_scratch():
            _meet_launched_run()
            outcome = stage(config)
    except KeyboardInterrupt:
        _exit_stopped(config_class)
    except Exception as error:
        if stop_asked():
            _exit_stopped(config_class)
        known = error if isinstance(error, InputError) else of_place(error)
        if known is None:
            raise
        line = _bounded(printable(" ".join(str(known).split())))
        print(f"error: {line}", file=sys.stderr)
        _note_refusal(line)
        sys.exit(2)
    sys.exit(outcome if isinstance(outcome, ExitCode) else int(outcome is False))


def without_verbose(argv: Sequence[str]) -> list[str]:
    """Return arguments without ``-v`` or ``--verbose``, which take effect in this process and its children."""
    kept = [argument for argument in argv if argument not in ("-v", "--verbose")]
    if len(kept) < len(argv):
        os.environ[VERBOSE] = "1"
    return kept


def _check_ranks(config: Config) -> None:
    """Refuse several ``torchrun`` processes if each would do the same work; only the first prints the error."""
    problem = config.problem_with_ranks(n_ranks()) if n_ranks() > 1 else ""
    if not problem:
        return
    if rank():
        # Wait until torchrun ends it: if this process ended first, torchrun would report it instead of the real error.
        time.sleep(GRACE_S)
        sys.exit(2)
    name = _script_of(type(config))
    raise InputError(
        f"{name} {problem}, got {n_ranks()} processes from torchrun; start it with python -m entrypoints.{name}"
    )


def _script_of(config_class: type[Config]) -> str:
    return next((name for name, known in ENTRY_POINTS.items() if known is config_class), config_class.__name__)


def _bounded(line: str) -> str:
    """Return a line without its middle if it is long: values and paths from outside may have any length."""
    half = (MAX_LINE - len(" ... ")) // 2
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def _meet_launched_run() -> None:
    """Record this process on the run made by ``mlflow run``, because it may be killed before a stage does so."""
    if os.environ.get("MLFLOW_RUN_ID") and rank() == 0:
        from resnet_mlflow.tracking import connect

        connect()


def _exit_stopped(config_class: type[Config]) -> NoReturn:
    print(f"stopped; {config_class.after_stop}", file=sys.stderr)
    sys.exit(130)


def _note_refusal(message: str) -> None:
    """Record the error on the run made by ``mlflow run``, if no stage used it."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id is None:
        return
    from resnet_mlflow.tracking import set_error

    set_error(run_id, message)
