"""Measurements of two ways of doing the same work in alternate turns, so that noise affects both alike."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One line of the table of results.

    Attributes:
        what: Name of the row, with the sizes that were measured.
        measured: The figure, usually the median of the turns.
        target: The required value.
        unit: Unit of both.
        at_least: Whether higher is better.
        spread: Lowest and highest value of the turns.
        ours: What we ran, and its speed.
        peer: The same for the reference implementation.
    """

    what: str
    measured: float
    target: float
    unit: str = "x"
    at_least: bool = True
    spread: tuple[float, float] | None = None
    ours: str = ""
    peer: str = ""

    @property
    def met(self) -> bool:
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(ours: Work, peer: Work, turns: int, *, warm_up: bool = True) -> tuple[list[float], list[float]]:
    """Return seconds of both, timed in alternate turns, after one turn of each as a warm-up.

    Args:
        ours: Our implementation.
        peer: The reference implementation.
        turns: How often each is timed.
        warm_up: Whether to warm up; not needed if the caller has done so.
    """
    if warm_up:
        ours()
        peer()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        taken[0].append(seconds(ours))
        taken[1].append(seconds(peer))
    return taken


def fastest(candidates: Sequence[Work]) -> int:
    """Return which of several variants of the peer is the fastest, by one turn of each after a warm-up."""
    candidates[0]()
    taken = [seconds(work) for work in candidates]
    return taken.index(min(taken))


def ratio_row(
    what: str,
    target: float,
    ours: list[float],
    peer: list[float],
    *,
    n_items: int = 0,
    names: tuple[str, str] = ("", ""),
) -> Row:
    """Return the row of a ratio: the median over turns of the peer's time divided by ours.

    Args:
        what: Name of the row.
        target: Smallest acceptable ratio.
        ours: Seconds per turn.
        peer: Seconds per turn, for the same work.
        n_items: Images per turn, for images/s; 0 shows seconds.
        names: What was run, for the columns with absolute figures.
    """
    ratios = sorted(theirs / own for own, theirs in zip(ours, peer, strict=True))
    shown = [rate(statistics.median(taken), n_items) for taken in (ours, peer)]
    return Row(
        f"{what} ({len(ratios)} turns)" if len(ratios) > 1 else f"{what} (one turn)",
        statistics.median(ratios),
        target,
        spread=(ratios[0], ratios[-1]),
        ours=f"{shown[0]} {names[0]}".strip(),
        peer=f"{shown[1]} {names[1]}".strip(),
    )


def limit_row(what: str, limit: float, values: list[float], *, unit: str, ours: str = "", peer: str = "") -> Row:
    """Return the row of a figure whose median should stay below a limit."""
    return Row(
        f"{what} ({len(values)} turns)" if len(values) > 1 else f"{what} (one turn)",
        statistics.median(values),
        limit,
        unit=unit,
        at_least=False,
        spread=(min(values), max(values)),
        ours=ours,
        peer=peer,
    )


# Share of the processor that other processes may use: above it, figures are unreliable.
DISTURBED = 0.1


class Disturbance:
    """How much of the machine other processes use during a measurement."""

    def __init__(self) -> None:
        self._before = _processor_times()

    def share(self) -> float:
        """Return the share of all cores' time that other processes have used since this was created; 0 if unknown."""
        busy, total, own = (now - then for now, then in zip(_processor_times(), self._before, strict=True))
        return max(0.0, (busy - own) / total) if total else 0.0


def _processor_times() -> tuple[float, float, float]:
    """Return busy seconds of all cores, total seconds, and those of this process with its finished children."""
    own = sum(os.times()[:4])
    stat = Path("/proc/stat")
    if not stat.exists():
        return own, 0.0, own
    # Fields: user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
    ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    per_s = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / per_s, sum(ticks) / per_s, own


def rate(taken_s: float, n_items: int = 0) -> str:
    """Return seconds as text, or images/s if a number of images is given.

    Example:
        >>> rate(2.0, 500), rate(0.25)
        ('250 images/s', '0.25 s')
    """
    return f"{n_items / taken_s:.0f} images/s" if n_items else f"{taken_s:.3g} s"
