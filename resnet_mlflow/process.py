"""Which process this is: on which machine, and which of those that ``torchrun`` started."""

import os
import socket


def process_name() -> str:
    """Return host and process number, such as ``host-a:4711``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def n_ranks() -> int:
    """Return how many processes ``torchrun`` started for one extraction; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Return this process's number among them, from 0."""
    return int(os.environ["RANK"]) if n_ranks() > 1 else 0
