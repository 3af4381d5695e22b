"""Temporary folders of this process that do not outlive it: the next start removes leftovers of a kill."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resnet_mlflow.errors import InputError

PREFIX = "resnet-mlflow-"
TRIES = 10


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is deleted when the block ends.

    Raises:
        InputError: If the folder for temporary files has no space or cannot be written to.
    """
    with _explained():
        folder = tempfile.mkdtemp(prefix=PREFIX)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def process_scratch() -> Iterator[Path]:
    """Keep all temporary files of this process, its libraries and its children in one folder, and remove it.

    A lock on a file next to the folder shows that its process is alive. The system releases it however the process
    ends, so the next start knows which folders to remove.

    Raises:
        InputError: If the folder for temporary files cannot be written to.
    """
    with _explained():
        place = Path(tempfile.gettempdir())
        _remove_abandoned(place)
        folder, sign = _claim(place)
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR")
        if before[1] is not None:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)
        _sign_of(folder).unlink(missing_ok=True)
        os.close(sign)


def _claim(place: Path) -> tuple[Path, int]:
    """Return a new folder, and the open file whose lock shows that this process is alive."""
    for _ in range(TRIES):
        folder = place / f"{PREFIX}{secrets.token_hex(6)}"
        sign = os.open(_sign_of(folder), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        fcntl.flock(sign, fcntl.LOCK_EX)
        # Another process may have considered the file abandoned before it was locked.
        with suppress(FileNotFoundError):
            if _sign_of(folder).stat().st_ino == os.fstat(sign).st_ino:
                folder.mkdir(mode=0o700)
                return folder, sign
        os.close(sign)
    raise FileExistsError(f"{place} is losing files that are being written")


def _remove_abandoned(place: Path) -> None:
    """Remove this user's folders whose process is gone; other users' folders are ignored."""
    for sign in place.glob(f"{PREFIX}*.alive"):
        with suppress(OSError):
            if sign.is_symlink() or sign.stat().st_uid != os.getuid():
                continue
            file = os.open(sign, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder = sign.with_suffix("")
                if not folder.is_symlink():
                    shutil.rmtree(folder, ignore_errors=True)
                sign.unlink()
            finally:
                os.close(file)


def _sign_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.alive")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the folder for temporary files must be writable and have free space, got {error.strerror or error} at "
            f"{error.filename or tempfile.tempdir}; free space, or set TMPDIR to another folder"
        ) from None
