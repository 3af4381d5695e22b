"""The one exception that means: the user can fix this."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Input that breaks a rule; the command line prints it in one line and exits with code 2.

    The message states the rule, then the value received, then what to do.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or an empty string where nothing known is near.

    Example:
        >>> nearest("resnet81", ["resnet18", "svm"])
        "; did you mean 'resnet18'?"
        >>> nearest("zebra", ["svm"])
        ''
    """
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def printable(text: str) -> str:
    r"""Return a text that fits one line of any log: control characters and what is not Unicode are escaped.

    Names of files and classes come from outside, and may hold line breaks or bytes that are not UTF-8.

    Example:
        >>> printable("crow\n2"), printable("caf\udce9.png")
        ('crow\\n2', 'caf\\udce9.png')
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
