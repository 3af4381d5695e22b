"""How many threads torch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, here and in threads that start meanwhile, and put back what it was.

    Threads that share small work wait for each other, spinning: for the steps of a head two of them save a third at
    best, and on a busy machine cost ten times as much. Where each core has work of its own they only take its time.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
