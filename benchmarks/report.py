"""The table of results: written as Markdown, line by line, so that a part can be measured again."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import Row

LIBRARIES = ("torch", "torchvision", "scikit-learn", "scikit-learn-intelex", "mlflow", "numpy", "pillow")
HEADER = (
    "| what | measured | range | target | | ours | peer | when |",
    "|---|---|---|---|---|---|---|---|",
)
INTRODUCTION = """\
# Speed against plain peers

Made by `make bench` (`python -m benchmarks`). Each ratio is the peer's time over ours for the same work, timed in
alternate turns on the same machine: the median of the turns, and their range. The peers are plain scripts
(`benchmarks/peers`): PIL in a DataLoader with eager float32, the same with channels_last and bf16 autocast, timm's
extraction, forward passes of ONNX Runtime and OpenVINO, scikit-learn's heads, faiss' exact search. Growth is the
exponent that fits the cost at 1, 2, 4 and 8 times the work. Coverage, false decisions and power are shares of 2000
simulations, the least or most over all settings; `docs/statistics.md` says why those that miss their target do.
"""


def table(rows: list[Row], when: str = "") -> list[str]:
    """Return the lines of the table, its header first."""
    return [*HEADER, *(_line(row, when) for row in rows)]


def _line(row: Row, when: str) -> str:
    spread = f"{_digits(row.spread[0])} to {_digits(row.spread[1])}" if row.spread else ""
    sign = "≥" if row.at_least else "≤"
    verdict = "met" if row.met else "**missed**"
    cells = (
        row.what,
        f"{_digits(row.measured)} {row.unit}".strip(),
        spread,
        f"{sign} {row.target:g} {row.unit}".strip(),
        verdict,
        row.ours,
        row.peer,
        when,
    )
    return f"| {' | '.join(cells)} |"


def _digits(value: float) -> str:
    # A cosine of 0.99996 must not read as 1.
    return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.3g}"


def machine() -> list[str]:
    """Return what the figures rest on, as lines of a list."""
    versions = [f"{name} {_version(name)}" for name in LIBRARIES]
    return [
        f"- processor: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory",
        f"- system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"- libraries: {', '.join(versions)}",
    ]


def write(path: Path, measured: dict[str, tuple[list[Row], str]], order: list[str]) -> None:
    """Write the results; lines of benchmarks that did not run this time stay, if they are of this machine.

    Args:
        path: A Markdown file.
        measured: By benchmark its rows, and when and how they came about.
        order: All benchmarks, in the order of the table.
    """
    kept = _kept_lines(path)
    lines = {
        name: [f"{_line(row, when).removesuffix(' |')} <!-- {name} --> |" for row in rows]
        for name, (rows, when) in measured.items()
    }
    body = [line for name in order for line in lines.get(name, kept.get(name, []))]
    path.write_text("\n".join([INTRODUCTION, *machine(), "", *HEADER, *body]) + "\n", encoding="utf-8")


def _kept_lines(path: Path) -> dict[str, list[str]]:
    """Return the file's lines by benchmark; none where there is no file, or it is another machine's."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    kept: dict[str, list[str]] = {}
    if not all(line in text for line in machine()):
        return kept
    for line in text.splitlines():
        if line.startswith("| ") and line.endswith(" --> |"):
            name = line.rsplit("<!-- ", 1)[1].removesuffix(" --> |")
            kept.setdefault(name, []).append(line)
    return kept


def stamp() -> str:
    """Return the time and the commit, for the last column."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} {_commit()}"


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    text = cpu_info.read_text() if cpu_info.exists() else ""
    found = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if f" {flag}" in text]
    return (found[0] if found else platform.processor() or platform.machine()) + "".join(f", {flag}" for flag in flags)


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """Return the commit, marked where the working tree differs from it in more than the table being written."""
    commit = _git("describe", "--always")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results.md")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
