"""Energy used by the processors of this machine, from their own counters, if these can be read."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

# Of the kernel: Intel's running average power limit, which AMD's processors tell by the same name.
ROOT = Path("/sys/class/powercap")
# What runs log.
METRIC = "energy/processors_j"
_PER_JOULE = 1_000_000


def read_counters(root: Path = ROOT) -> dict[str, tuple[int, int]]:
    """Return each processor's counter and where it starts again at 0, in microjoules; nothing where none can be read.

    Parts of a processor (``intel-rapl:0:0``) are in the counter of the whole, and left out.
    """
    found: dict[str, tuple[int, int]] = {}
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:
            try:
                counter, most = (int((folder / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
            except (OSError, ValueError):
                continue
            found[folder.name] = (counter, most)
    return found


@dataclass
class EnergyMeter:
    """Adds up what counters rise by; a counter that starts again must be looked at once in between.

    Attributes:
        root: Where the counters are.
    """

    root: Path = ROOT
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _sum: int = 0
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last = read_counters(self.root)

    def look(self) -> None:
        """Take note of the counters; they start again after half an hour at the earliest."""
        with self._one_at_a_time:
            now = read_counters(self.root)
            for name, (counter, most) in now.items():
                before = self._last.get(name, (counter, most))[0]
                self._sum += counter - before if counter >= before else counter + most - before
            self._last = now

    def joules(self) -> float | None:
        """Return what was taken since the start, or None where it cannot be measured."""
        self.look()
        return self._sum / _PER_JOULE if self._last else None
