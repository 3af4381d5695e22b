"""This process: its name, its number among those that ``torchrun`` started, its threads, and whether it is to stop."""

import atexit
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import FrameType, ModuleType

# Names of glibc's malloc.h, and the highest values that it reaches by itself in a process without settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST_MMAP_BYTES = 32 * 2**20
# New objects before the next search for garbage; with more, imports are no faster.
MANY_OBJECTS = 5000
# Libraries that print a page about leaks if the last search does not find their objects.
LEAK_REPORTERS = {"onnx", "triton"}
# Delay after which a stop that arrived during a database statement is retried.
LATER_S = 0.02

_stop_asked = threading.Event()
_claimed = threading.Event()
_worker = threading.Event()


class ExitCode(IntEnum):
    """Exit code of an entry point that finished and reports an alert; 0, 1 and 2 have other meanings."""

    ALERT = 3


def process_name() -> str:
    """Return host and process number, such as ``host-a:4711``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process_mark() -> str:
    """Return what identifies this process, such as ``3f1c9a0b:4711:88213``: machine, number, start.

    Process numbers are reused, and each container on a machine counts its own.
    """
    return f"{_machine()}:{os.getpid()}:{_start_of(os.getpid())}"


def is_gone(mark: str) -> bool | None:
    """Return whether the process of a mark has ended; ``None`` if it ran on another machine, or if that is unknown.

    Example:
        >>> is_gone(process_mark()), is_gone("elsewhere:1:1")
        (False, None)
    """
    machine, _, rest = mark.partition(":")
    number, _, start = rest.partition(":")
    if machine != _machine() or not number.isdecimal():
        return None
    return _start_of(int(number)) != start


def machine() -> str:
    """Return what identifies this machine: the first part of ``process_mark``."""
    return process_mark().partition(":")[0]


def process_exists(number: int) -> bool:
    """Return whether this machine has a process with this number."""
    import psutil

    return psutil.pid_exists(number)


@cache
def _machine() -> str:
    known = [socket.gethostname()]
    with suppress(OSError):  # Linux has both
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    return blake2b("/".join(known).encode(), digest_size=4).hexdigest()


def _start_of(number: int) -> str:
    """Return when a process started, in the system's own unit; empty if it does not exist or is a zombie."""
    import psutil

    try:
        process = psutil.Process(number)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.Error, OverflowError):
        return ""


def n_ranks() -> int:
    """Return the number of processes that ``torchrun`` started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Return this process's number among them, from 0."""
    return int(os.environ["RANK"]) if n_ranks() > 1 else 0


def leave_ranks() -> None:
    """Continue as a single process if ``torchrun`` started several; the others end."""
    if n_ranks() > 1:
        import torch

        del os.environ["TORCHELASTIC_RUN_ID"]
        torch.distributed.destroy_process_group()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, here and in threads started meanwhile, and restore the setting.

    Threads that share small work spin while they wait for each other: for the steps of a head, two threads save a third
    at best, and take ten times as long on a busy machine. If each core already has its own work, they only slow it
    down.
    """
    import torch  # takes seconds; callers that only need the process's name do not wait for it

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def quiet_libraries() -> None:
    """Silence unimportant library messages: libraries report every start, and users want the stage's own lines."""
    for noisy in ("alembic", "fontTools", "matplotlib", "mlflow.pyfunc", "mlflow.system_metrics", "sklearnex"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Database errors are raised and reported in one line; MLflow would also log them, with all statements.
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
    # Raised outside the main thread, where threads are already limited for the whole process.
    warnings.filterwarnings("ignore", message="'Threading' parallel backend is not supported", category=UserWarning)
    # Dask sets a level for each of its modules. We report dead workers ourselves.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def claim() -> None:
    """Mark this process as running only one of the project's commands, so that it may import less, and faster.

    Call it first. Libraries create 300,000 objects that stay. The searches for garbage among them, one for every 700
    new ones, take a sixth of the time of an import, and the search at the exit takes 0.7 s.
    """
    _claimed.set()
    gc.set_threshold(MANY_OBJECTS)
    atexit.register(_leave_garbage)


def _leave_garbage() -> None:
    if not LEAK_REPORTERS & sys.modules.keys():
        gc.freeze()


def become_worker() -> None:
    """Mark this process as a worker of another one, which reports to the user."""
    claim()
    _worker.set()


@cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of arrays that it has freed, whatever its environment asks for.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``. With it, glibc requests the memory of every array over
    128 KiB from the kernel and returns it at once, and filling the new pages took four times as long as computing the
    distances of a nearest-neighbour search. Other C libraries have no such setting.
    """
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, MOST_MMAP_BYTES)
        set_option(M_TRIM_THRESHOLD, 2 * MOST_MMAP_BYTES)


def is_worker() -> bool:
    """Return whether this process is a worker of another one, which reports to the user."""
    return _worker.is_set()


def is_claimed() -> bool:
    """Return whether this process runs only one of the project's commands."""
    return _claimed.is_set()


@contextmanager
def without_compiler() -> Iterator[None]:
    """Import libraries without ``torch._dynamo``, which they request and which takes seconds.

    Lightning Fabric checks whether a network is compiled, and torchvision marks functions that must not be: in a
    process that runs only our commands, they never get a compiled network. Code that needs the real module imports it
    later.
    """
    if not is_claimed() or "torch._dynamo" in sys.modules:
        yield
        return
    stand_in, utils = ModuleType("torch._dynamo"), ModuleType("torch._dynamo.utils")
    vars(stand_in).update(OptimizedModule=type("OptimizedModule", (), {}), disable=lambda function, *_, **__: function)
    vars(utils).update(is_compile_supported=lambda _: False)
    ours = {"torch._dynamo": stand_in, "torch._dynamo.utils": utils}
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del sys.modules[name]


def listen_for_stop() -> None:
    """Let SIGTERM end this process like Ctrl-C, and remember either.

    An exception raised by a signal can be lost: compiled code that calls Python turns it into its own error
    (torch.save: "unexpected pos"), or prints it and continues. Code that continues after an error calls ``reason_of``.
    """
    signal.signal(signal.SIGTERM, _stop)
    # Background processes of a shell ignore SIGINT, and continue to do so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _stop_asked.set()
    if _in_database(frame):
        # An interrupted statement would keep its lock, and the code that ends runs would wait for it forever.
        again = threading.Timer(LATER_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def _in_database(frame: FrameType | None) -> bool:
    return any(
        found.f_globals.get("__name__", "").startswith("sqlalchemy.") for found, _ in traceback.walk_stack(frame)
    )


def ask_stop(stop: bool = True) -> None:
    """Request the work of this process to end as soon as possible, without a signal; or withdraw the request."""
    (_stop_asked.set if stop else _stop_asked.clear)()


def stop_asked() -> bool:
    """Return whether this process has been asked to stop."""
    return _stop_asked.is_set()


def raise_if_stopped() -> None:
    """Raise ``KeyboardInterrupt`` if this process was asked to stop and the first exception was lost."""
    if _stop_asked.is_set():
        raise KeyboardInterrupt


def reason_of(error: Exception) -> str:
    """Return why something failed, in one line.

    Raises:
        KeyboardInterrupt: If this process was asked to stop, which is the reason.
    """
    if _stop_asked.is_set():
        raise KeyboardInterrupt from error
    return (str(error).splitlines() or [type(error).__name__])[0]
