"""Paths from users: read in the same way everywhere, and checked before the work rather than after it."""

import os
import secrets
from pathlib import Path

from resnet_mlflow.errors import InputError


def user_path(text: str, name: str) -> Path:
    """Return the path in a parameter, with ``~`` and ``~user`` expanded.

    Args:
        text: The given text.
        name: Name of the parameter, for the error.

    Raises:
        InputError: If the user does not exist, or the path is impossible.
    """
    try:
        path = Path(text).expanduser()
        os.fsencode(path)
        path.exists()  # fails if a name is too long or contains NUL
    except (RuntimeError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} must be a path, got {text[:200]!r} ({reason}); check it") from None
    return path


def writable_folder(path: Path, name: str) -> Path:
    """Return a folder after creating it if necessary and testing that it is writable.

    Raises:
        InputError: If either fails.
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
    """Return whether a path names a file; impossible paths, such as those with a too long name, do not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
