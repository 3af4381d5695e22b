"""The exception for errors that the user can fix."""

import errno
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

# System errors for full, protected or badly named places. Any other system error is a bug of ours.
_OF_PLACES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)
_OF_DATABASES = (
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
    "unable to open database file",
)


class InputError(ValueError):
    """Input that breaks a rule; the command line prints it in one line and exits with code 2.

    The message states the rule, then the value received, then what to do.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or an empty string if no known name is close.

    Example:
        >>> nearest("resnet81", ["resnet18", "svm"])
        "; did you mean 'resnet18'?"
        >>> nearest("zebra", ["svm"])
        ''
    """
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shown(value: object, most: int = 100) -> str:
    r"""Return a value as quoted in errors: in one line, and truncated if long.

    Example:
        >>> print(shown("a\nb"), shown([0] * 1000, most=12))
        'a\nb' [0, 0, 0, 0...
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # for a number with thousands of digits
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= most else f"{text[:most]}..."


def printable(text: str) -> str:
    r"""Return a text that fits on one line of any log: control characters and invalid Unicode are escaped.

    Names of files and classes come from outside, and may contain line breaks or bytes that are not UTF-8.

    Example:
        >>> printable("crow\n2"), printable("caf\udce9.png")
        ('crow\\n2', 'caf\\udce9.png')
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def of_place(error: BaseException) -> InputError | None:
    """Return the message for an error caused by a full or protected disk; None for other errors.

    Libraries wrap the system's error, often in a message about something else.

    Example:
        >>> of_place(OSError(errno.ENOSPC, "No space left on device", "/data/x"))  # doctest: +ELLIPSIS
        InputError('the output location must be writable and have free space, got No space left on ...')
        >>> of_place(KeyError("a bug"))
    """
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _OF_PLACES:
            place = cause.filename2 or cause.filename  # for a copy, its destination
            where = f" at {place}" if place else ""
            return _no_room(f"{cause.strerror}{where}")
        for said in _OF_DATABASES:
            if said in str(cause):
                return _no_room(f"{said!r} from the tracking store or the study's storage")
    return None


def _no_room(got: str) -> InputError:
    return InputError(
        f"the output location must be writable and have free space, got {got}; free space or change permissions, then "
        f"run the same command again"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
