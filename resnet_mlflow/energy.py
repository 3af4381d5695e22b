"""Energy used by the processors of this machine, from their own counters, if these can be read."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

# Provided by the kernel: Intel's running average power limit, with the same name for AMD's processors.
ROOT = Path("/sys/class/powercap")
# Name of the logged metric.
METRIC = "energy/processors_j"
_PER_JOULE = 1_000_000


def read_counters(root: Path = ROOT) -> dict[str, tuple[int, int]]:
    """Return each processor's counter and the value at which it wraps, in microjoules; empty if none is readable.

    Parts of a processor (``intel-rapl:0:0``) are included in the counter of the whole, and omitted.
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
    """Adds up the increases of counters; a counter must be read at least once before it wraps again.

    Attributes:
        root: Folder of the counters.
    """

    root: Path = ROOT
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _sum: int = 0
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last = read_counters(self.root)

    def look(self) -> None:
        """Read the counters; they wrap after half an hour at the earliest."""
        with self._one_at_a_time:
            now = read_counters(self.root)
            for name, (counter, most) in now.items():
                before = self._last.get(name, (counter, most))[0]
                self._sum += counter - before if counter >= before else counter + most - before
            self._last = now

    def joules(self) -> float | None:
        """Return the energy used since the start, or None if it cannot be measured."""
        self.look()
        return self._sum / _PER_JOULE if self._last else None
