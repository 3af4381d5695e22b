"""SHA-256 of files, computed once per process and again if a file changes, and comparison of copies."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from resnet_mlflow.errors import InputError

# Number of files that an error names.
N_NAMED = 3


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    A study needs the digests of the same weights and features in every cell, and 100 MB take as long to hash as to
    load.

    Raises:
        OSError: If the file cannot be read.
    """
    found = path.stat()
    return _sha256(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


# The key includes everything that changes with a file.
@lru_cache(maxsize=1024)
def _sha256(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_digests() -> None:
    """Forget all digests, so that they are computed again."""
    _sha256.cache_clear()


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path with slashes, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def digest_of_all(digests: Mapping[str, str]) -> str:
    """Return one digest of all files: it changes with any path or content.

    Example:
        >>> digest_of_all({"a": "1"}) == digest_of_all({"b": "1"})
        False
    """
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_digests(what: str, found: Mapping[str, str], expected: Mapping[str, str], remedy: str) -> None:
    """Refuse files that differ from the expected ones.

    Args:
        what: Beginning of the error.
        found: Digests by path.
        expected: The expected digests.
        remedy: End of the error.

    Raises:
        InputError: If one has changed, is missing or is new; the message names the first three.
    """
    changed = sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))
    if changed:
        named = ", ".join(changed[:N_NAMED])
        raise InputError(
            f"{what} must have the same digests as at its origin, got {len(changed)} that differ ({named}); {remedy}"
        )
