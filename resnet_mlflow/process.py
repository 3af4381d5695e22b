"""This process: its name, its number among those that ``torchrun`` started, its threads and cores."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


def process_name() -> str:
    """Return host and process number, such as ``host-a:4711``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def n_ranks() -> int:
    """Return how many processes ``torchrun`` started for one extraction; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Return this process's number among them, from 0."""
    return int(os.environ["RANK"]) if n_ranks() > 1 else 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, here and in threads that start meanwhile, and put back what it was.

    Threads that share small work wait for each other, spinning: for the steps of a head two of them save a third at
    best, and on a busy machine cost ten times as much. Where each core has work of its own they only take its time.
    """
    import torch  # takes seconds, which callers that only ask for the process's name need not wait

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
