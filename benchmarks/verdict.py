"""Comparison of quick figures with the previous ones of the same processor."""

import json
from pathlib import Path

from benchmarks.harness import Row

# A figure has become worse if even its best turn is below this share of the previous figure: turns of the same code
# differ by more on a processor whose speed varies.
WORSE = 0.9


def compare(path: Path, title: str, rows: list[Row], when: str) -> list[str]:
    """Return remarks on figures compared with the previous ones of this processor, and store them as the latest.

    Args:
        path: A JSON file; created if missing.
        title: Title of the processor's table.
        rows: The measured rows.
        when: Time and commit.
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    last = kept.setdefault(title, {})
    worse = [line for row in rows if row.what in last for line in _verdict(row, last[row.what])]
    n_known = sum(row.what in last for row in rows)
    last.update({row.what: {"measured": row.measured, "when": when} for row in rows})
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if not n_known:
        return [f"no earlier figures of {title}: these are the first"]
    return worse or [f"none of {n_known} figures is worse than {WORSE:g} of the last one of {title}"]


def _verdict(row: Row, last: dict[str, str | float]) -> list[str]:
    before = float(last["measured"])
    low, high = row.spread or (row.measured, row.measured)
    share = high / before if row.at_least else before / low
    if share >= WORSE:
        return []
    return [f"worse: {row.what}: {row.measured:.3g} {row.unit}, {before:.3g} on {last['when']}"]
