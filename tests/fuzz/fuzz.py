"""Damaged files of every format through the decoders, in a child process: ``make fuzz``.

Prints a line per format; exits with 1 after a crash, a file that took over 5 s, memory that grew, or an error that is
none of ours. A file is found again by its format, seed and number: ``mutations.mutated("PNG", 0, 123)``.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mutations import FORMATS

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]
PATIENCE_S = 5.0
# Until the child has imported everything.
START_S = 60.0
NOT_STARTED = -1
# Resident memory may differ by this between the first look and the last: pools of the allocator.
GROWTH_BYTES = 64 * 2**20


@dataclass
class Report:
    """What became of a format's files: crashes, hangs and foreign errors by number, and memory in bytes."""

    image_format: str
    n_files: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    grown: int = 0
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        return not self.faults and self.grown <= GROWTH_BYTES

    def __str__(self) -> str:
        text = ", ".join(f"{count} {what}" for what, count in sorted(self.outcomes.items()))
        line = f"{self.image_format:9} {self.n_files} files in {self.seconds:.0f} s: {text}, "
        line += f"{len(self.faults)} faults, memory {self.grown / 2**20:+.0f} MiB"
        return line + "".join(f"\n  file {number}: {what}" for number, what in self.faults[:20])


def fuzz(image_format: str, seed: int, n_files: int) -> Report:
    """Decode ``n_files`` damaged files; after one that ends or holds up the child, another child goes on."""
    report, start, first = Report(image_format, n_files), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note"
        while first < n_files:
            note.write_bytes(struct.pack("<q", NOT_STARTED))
            first = _run_child(report, seed, first, note)
    report.seconds = time.monotonic() - start
    return report


def _run_child(report: Report, seed: int, first: int, note: Path) -> int:
    """Return the number of the first file that is still to do."""
    command = [sys.executable, str(HERE / "child.py"), report.image_format, str(seed), str(first), str(report.n_files)]
    environment = os.environ | {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{HERE}"}
    child = subprocess.Popen([*command, str(note)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    number, since = NOT_STARTED, time.monotonic()
    while True:
        try:
            out, err = child.communicate(timeout=PATIENCE_S / 10)
            break
        except subprocess.TimeoutExpired:
            (now,) = struct.unpack("<q", note.read_bytes())
            if now != number:
                number, since = now, time.monotonic()
            elif time.monotonic() - since > (START_S if number == NOT_STARTED else PATIENCE_S):
                child.kill()
                child.communicate()
                report.faults.append((number, f"took over {PATIENCE_S:g} s"))
                return max(first, number) + 1
    if child.returncode != 0:
        (number,) = struct.unpack("<q", note.read_bytes())
        last = err.decode(errors="replace").strip().splitlines()[-1:] or [""]
        report.faults.append((number, f"ended the process ({child.returncode}) {last[0]}"))
        return max(first, number) + 1
    found = json.loads(out)
    report.outcomes.update(found["outcomes"])
    report.faults += [(number, what) for number, what in found["faults"]]
    # libtiff writes remarks of its own, which nothing can turn off.
    if b"Warning" in err:
        report.faults.append((first, f"warned: {err.decode(errors='replace').strip()[-200:]}"))
    if found["resident"]:
        report.grown = max(report.grown, found["resident"][-1] - found["resident"][0])
    return report.n_files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="per format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default=",".join(FORMATS))
    arguments = parser.parse_args()
    reports = []
    for image_format in arguments.formats.split(","):
        reports.append(fuzz(image_format, arguments.seed, arguments.files))
        print(reports[-1], flush=True)
    return 0 if all(report.sound for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
