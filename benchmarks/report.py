"""The tables of results, one per processor, as Markdown with one line per result, so that parts can be remeasured."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import Row
from benchmarks.sources import LIBRARIES, version
from resnet_mlflow.devices import cpu_info

HEADER = (
    "| what | measured | range | target | | ours | peer | when |",
    "|---|---|---|---|---|---|---|---|",
)
INTRODUCTION = """\
# Speed against plain peers

Made by `make bench` (`python -m benchmarks`). Each ratio is the peer's time over ours for the same work, timed in
alternate turns on the same machine: the median of the turns, and their range. The peers are plain scripts
(`benchmarks/peers`): PIL in a DataLoader with eager float32, the same with channels_last and, where the processor
has instructions for it, bf16 autocast, timm's extraction, forward passes of ONNX Runtime and OpenVINO, scikit-learn's
heads, faiss' exact search. Growth is the exponent that fits the cost at 1, 2, 4 and 8 times the work. Coverage, false
decisions and power are shares of 2000 simulations, the least or most over all settings; `docs/statistics.md` says why
those that miss their target do.

Each processor has a table of its own. Rows whose code, or libraries, changed since they were measured are marked stale.
Where a processor was forced to fewer instructions, the title names the variables. ONNX Runtime, faiss and oneDAL ignore
them and go on using all that the processor has, so a ratio over ONNX Runtime there compares AVX2 with AVX-512.
"""
STALE = "**stale**, "
# At the end of a line: its benchmark, and the digest of the measured code.
_MARK = re.compile(r" <!-- (?P<name>\S+)(?: (?P<code>\w+))? --> \|$")
# By flag in /proc/cpuinfo; the first that is present counts.
_SETS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
# Variables that restrict libraries to fewer instructions than the processor has.
_FORCING = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")


def table(rows: list[Row], when: str = "") -> list[str]:
    """Return the lines of the table, starting with its header."""
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
    # A cosine of 0.99996 must not be rounded to 1.
    return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.3g}"


def title() -> str:
    """Return the title of this machine's table: the instructions that libraries use, and the processor."""
    forced = [f"{name}={os.environ[name]}" for name in _FORCING if name in os.environ]
    instructions = next((shown for flag, shown in _SETS.items() if flag in cpu_info("flags").split()), "")
    shown = f"{instructions}: {_processor()}" if instructions else _processor()
    return f"{shown}, forced to less ({', '.join(forced)})" if forced else shown


def machine() -> list[str]:
    """Return processor, system and libraries of the latest figures, as lines of a list."""
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    return [
        f"- processor: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory",
        f"- system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"- libraries: {', '.join(versions)}",
    ]


def write(path: Path, measured: dict[str, tuple[list[Row], str]], codes: dict[str, str]) -> None:
    """Write the results; lines of benchmarks that were not run are kept, as are tables of other processors.

    Args:
        path: A Markdown file.
        measured: Rows by benchmark, with time and commit.
        codes: Digests of the code of all benchmarks, in the order of the table.
    """
    tables = _read(path)
    about, lines = tables.get(title(), ([], {}))
    for name, (rows, when) in measured.items():
        lines[name] = [f"{_line(row, when).removesuffix(' |')} <!-- {name} {codes[name]} --> |" for row in rows]
    if lines:
        tables[title()] = (machine() if measured else about, lines)
    parts = [INTRODUCTION]
    for heading, (about, kept) in sorted(tables.items()):
        body = [_judged(line, codes) for name in codes for line in kept.get(name, [])]
        parts += [f"## {heading}", "", *about, "", *HEADER, *body, ""]
    path.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


def _judged(line: str, codes: dict[str, str]) -> str:
    """Return a line, marked as stale if its code has changed."""
    mark = _MARK.search(line)
    assert mark is not None
    cells = line[: mark.start()].split(" | ")
    when = cells[-1].removeprefix(STALE)
    cells[-1] = when if mark["code"] == codes[mark["name"]] else f"{STALE}{when}"
    return " | ".join(cells) + mark.group()


def stale(path: Path, codes: dict[str, str]) -> list[str]:
    """Return the benchmarks that are missing or stale in this processor's table."""
    _, lines = _read(path).get(title(), ([], {}))
    return [
        name
        for name in codes
        if any(STALE in _judged(line, codes) for line in lines.get(name, [])) or name not in lines
    ]


def _read(path: Path) -> dict[str, tuple[list[str], dict[str, list[str]]]]:
    """Return a file's tables by their titles: lines about the machine, and lines by benchmark."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    tables = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, *lines = part.splitlines()
        kept: dict[str, list[str]] = {}
        for line in lines:
            if mark := _MARK.search(line):
                kept.setdefault(mark["name"], []).append(line)
        tables[heading] = ([line for line in lines if line.startswith("- ")], kept)
    return tables


def stamp() -> str:
    """Return time and commit, for the last column."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} {_commit()}"


def _processor() -> str:
    return cpu_info("model name") or platform.processor() or platform.machine()


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _commit() -> str:
    """Return the commit, marked as dirty if files other than the table of results differ from it."""
    commit = _git("describe", "--always")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results.md")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
