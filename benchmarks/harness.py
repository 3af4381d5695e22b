"""Measures two ways of doing the same work, turn by turn, so that a noisy machine disturbs both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table of results."""

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


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> tuple[list[float], list[float]]:
    """Return seconds of both, taken in turns; one turn of each before counts for nothing."""
    ours()
    peer()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        taken[0].append(seconds(ours))
        taken[1].append(seconds(peer))
    return taken


def ratio_row(
    what: str,
    target: float,
    ours: list[float],
    peer: list[float],
    *,
    n_items: int = 0,
    scale: float = 1.0,
    names: tuple[str, str] = ("", ""),
) -> Row:
    """Return the row of a ratio: the peer's time over ours, turn by turn, by its median.

    Args:
        what: Name of the row.
        target: Smallest ratio that will do.
        ours: Seconds per turn.
        peer: Seconds per turn.
        n_items: Images per turn, for images/s; 0 shows seconds.
        scale: Work of the peer's turn over the work of ours.
        names: What ran, for the columns of absolute figures.
    """
    ratios = sorted(theirs / own / scale for own, theirs in zip(ours, peer, strict=True))
    own, theirs = statistics.median(ours), statistics.median(peer) / scale
    shown = [f"{n_items / t:.0f} images/s" if n_items else f"{t:.3g} s" for t in (own, theirs)]
    return Row(
        what,
        statistics.median(ratios),
        target,
        spread=(ratios[0], ratios[-1]),
        ours=f"{shown[0]} {names[0]}".strip(),
        peer=f"{shown[1]} {names[1]}".strip(),
    )


def to_markdown(rows: list[Row]) -> str:
    lines = [
        "| what | measured | range | target | | ours | peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{row.spread[0]:.3g} to {row.spread[1]:.3g}" if row.spread else ""
        sign = "≥" if row.at_least else "≤"
        verdict = "met" if row.met else "**missed**"
        lines.append(
            f"| {row.what} | {row.measured:.5g} {row.unit} | {spread} | {sign} {row.target:g} {row.unit} | {verdict} | "
            f"{row.ours} | {row.peer} |"
        )
    return "\n".join(lines) + "\n"
