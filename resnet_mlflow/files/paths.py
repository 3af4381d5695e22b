"""Paths that users name: read in one way everywhere, and checked before the work rather than after it."""

import os
import secrets
from pathlib import Path

from resnet_mlflow.errors import InputError


def user_path(text: str, name: str) -> Path:
    """Return the path that a parameter spells, ``~`` and ``~user`` written out.

    Args:
        text: As given.
        name: Of the parameter, for the error.

    Raises:
        InputError: If there is no such user, or no path can be so.
    """
    try:
        path = Path(text).expanduser()
        os.fsencode(path)
        path.exists()  # a name that is too long, or that holds a NUL
    except (RuntimeError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} must be a path, got {text[:200]!r} ({reason}); check it") from None
    return path


def writable_folder(path: Path, name: str) -> Path:
    """Return a folder after making it, where it is not there, and writing to it.

    Raises:
        InputError: If either cannot be done.
    """
    probe = path / f".{secrets.token_hex(8)}.partial"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{name} must be a writable folder with free space, got {error.strerror or error} at {path}; "
            f"fix its permissions, free space, or pass another {name}"
        ) from None
    return path


def is_file(path: Path) -> bool:
    """Return whether a path names a file; one that no path can be so, such as of a name that is too long, does not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
