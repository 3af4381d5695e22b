"""Locks between processes on one machine that report which process they wait for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def held(path: Path, doing: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file; if another process has it, report which one, and wait.

    Args:
        path: The lock's file; its folder must exist and be writable only for those who share the work.
        doing: What the other process does, for the log line.
        wait: Whether to wait for it.

    Raises:
        Timeout: If another process has it and ``wait`` is false.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        logger.warning("%s %s; waiting for it", holder_of(path), doing)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def holder_of(path: Path) -> str:
    """Return the holder of a lock, if the system reports it: Linux lists locks by file and process."""
    try:
        inode = f":{path.stat().st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if "->" not in words and words[5].endswith(inode) and int(words[4]) > 0:
                return f"process {words[4]}"
    except (OSError, ValueError, IndexError):
        pass
    return "another process"
