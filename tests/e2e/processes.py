"""Entry points started as processes of their own, and killed."""

import os
import signal
from pathlib import Path

import forked

PROJECT = Path(__file__).parents[2]


def start(name, *arguments, **environment):
    """Start an entry point; what it logs can be read as it comes."""
    return forked.Process(["-m", f"entrypoints.{name}", *arguments], cwd=PROJECT, env=os.environ | environment)


def kill_at(process, text):
    """Send SIGKILL once the process has said ``text``; gives what it said."""
    said = []
    for line in process.stderr:
        said.append(line)
        if text in line:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(timeout=60) == -signal.SIGKILL, "".join(said)
    process.stderr.close()
    return "".join(said)
