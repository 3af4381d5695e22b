"""Progress as a user sees it: log lines and bars, fewer of them for steps of a larger task."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resnet_mlflow.process import is_worker, quiet_libraries

if TYPE_CHECKING:
    from tqdm import tqdm

# Any value but 0 has the effect of -v; child processes inherit it.
VERBOSE = "RESNET_MLFLOW_VERBOSE"
# Seconds between updates of a bar on a terminal, and between lines in a log file.
BAR_S, LINE_S = 0.2, 10.0
# One entry per enclosing task that reports on the current work in its own line.
_parts: list[None] = []


def is_verbose() -> bool:
    """Return whether details are printed, as with ``-v``."""
    return os.environ.get(VERBOSE, "0") not in ("", "0", "false")


def shows_details() -> bool:
    """Return whether the current work prints its own lines."""
    return not _parts or is_verbose()


@contextmanager
def within_larger_task() -> Iterator[None]:
    """Print only warnings and errors within the block: the larger task prints one line for all of it."""
    _parts.append(None)
    try:
        yield
    finally:
        _parts.pop()


def say(text: str) -> None:
    """Print a result, unless it belongs to a larger one that is printed later."""
    if shows_details():
        print(text)


def start_logging() -> None:
    """Log to standard error: our own lines, more of them with -v, and only important ones from libraries."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or shows_details())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if is_verbose():
        for ours in ("resnet_mlflow", "analysis"):
            logging.getLogger(ours).setLevel(logging.DEBUG)
    else:
        # MLflow sets its loggers' levels from this on import.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    quiet_libraries()


class _Handler(logging.StreamHandler[Any]):
    """Writes lines above the bars of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules or not sys.stderr.isatty():
            super().emit(record)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def progress(total: int, unit: str, what: str = "", *, in_files: bool = False, form: str | None = None) -> "tqdm[Any]":
    """Return a progress bar with the time left, which a terminal shows until it is closed.

    Args:
        total: Number of units.
        unit: Name of the unit, such as ``images``.
        what: Label before the bar.
        in_files: Whether a log file gets a line from time to time as well, unless the work belongs to a larger task.
        form: Like tqdm's ``bar_format``.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=what or None,
        unit=f" {unit}",
        mininterval=BAR_S if on_terminal else LINE_S,
        # Lines in a file cannot be overwritten.
        leave=not on_terminal,
        dynamic_ncols=True,
        bar_format=form,
        # Bars of several processes would overwrite each other.
        disable=is_worker() or not (on_terminal or (in_files and shows_details())),
    )


def in_words(seconds: float) -> str:
    """Return a duration in words.

    Example:
        >>> [in_words(s) for s in (4.26, 75, 260, 7500)]
        ['4.3 s', '75 s', '4 min', '2 h 5 min']
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def left_in_words(seconds: float) -> str:
    """Return the time left in words; empty if it is unknown or zero."""
    return f"; about {in_words(seconds)} left" if seconds > 0 else ""
