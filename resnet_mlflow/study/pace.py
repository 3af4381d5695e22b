"""Estimates the remaining time of a study from the times of similar cells."""

from collections.abc import Iterable, Sequence
from statistics import median

# Keys shared with similar pieces of work, the most specific first; the last may be common to all.
Likeness = Sequence[str]


class Pace:
    """Times of the work done so far.

    Example:
        >>> pace = Pace()
        >>> pace.left([("svm resnet18", "svm", "")])
        nan
        >>> pace.took(("svm resnet18", "svm", ""), 2.0)
        >>> pace.took(("all resnet18", "all", ""), 40.0)
        >>> pace.left([("svm resnet18", "svm", ""), ("all resnet50", "all", "")])
        42.0
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def took(self, work: Likeness, seconds: float) -> None:
        """Record the time of a piece of work."""
        for name in work:
            self._seconds.setdefault(name, []).append(seconds)

    def left(self, rest: Iterable[Likeness]) -> float:
        """Return the estimated seconds for the rest, each piece by the median of the most similar; NaN if unknown."""
        return sum((self._one(work) for work in rest), 0.0)

    def _one(self, work: Likeness) -> float:
        known = next((self._seconds[name] for name in work if name in self._seconds), None)
        return float("nan") if known is None else median(known)
