"""SHA-256 of files, worked out once a process and anew when a file changes."""

import hashlib
from functools import lru_cache
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    A study asks for that of the same weights and features in every cell, and 100 MB take as long to digest as to load.

    Raises:
        OSError: If the file cannot be read.
    """
    found = path.stat()
    return _sha256(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


# With all that changes when a file does.
@lru_cache(maxsize=1024)
def _sha256(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_digests() -> None:
    """Work out every digest anew."""
    _sha256.cache_clear()
