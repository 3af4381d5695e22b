"""What a reader must know of a set of runs before comparing them: seeds without a result, failures, versions."""

from collections.abc import Iterator

import pandas as pd

from analysis.cells import few_shot, settings_of_tested

STAGES = ("fit_head", "finetune", "longtail", "robustness")
SHOWN = 5


def warnings_of(frame: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence per thing that makes the runs' comparison unfair or incomplete.

    Args:
        frame: Runs, as ``runs.load_runs`` gives them.
    """
    cells = frame[frame["stage"].isin(STAGES) & frame["seed"].notna()]
    # A classifier's own run and the test of it are two cells.
    cells = cells.assign(setting=cells["stage"] + settings_of_tested(cells, frame))
    done = cells[cells["status"] == "FINISHED"]
    yield from _unfinished(cells, done)
    yield from _failed(cells, done)
    for column, word in (("version", "versions of the project"), ("commit", "commits")):
        values = sorted(done[column].dropna().unique())
        if len(values) > 1:
            yield f"Mixed {word}: {', '.join(str(value)[:12] for value in values)}."
    if (n_dirty := int((done["dirty"] == "true").sum())) > 0:
        yield f"{n_dirty} run{'s' if n_dirty > 1 else ''} came from a working tree with changes that no commit holds."


def _unfinished(cells: pd.DataFrame, done: pd.DataFrame) -> Iterator[str]:
    """Name the settings that lack a seed which another setting of the same parent and stage has."""
    finished = set(zip(done["setting"], done["seed"], strict=True))
    lines: dict[str, None] = {}
    nested = cells[cells["parent"].notna()]
    # Samples of a few images have seeds of their own.
    for _, group in nested.groupby([nested["parent"], nested["stage"], few_shot(nested)]):
        seeds = sorted(set(group["seed"]))
        for setting, own in group.groupby("setting"):
            missing = [seed for seed in seeds if (setting, seed) not in finished]
            if missing:
                name = _without_seed(str(own["name"].iloc[0]))
                lines[f"{name} lacks seed {', '.join(map(str, missing))}"] = None
    if lines:
        yield f"Unfinished seeds: {_first(list(lines))}."


def _failed(cells: pd.DataFrame, done: pd.DataFrame) -> Iterator[str]:
    finished = set(zip(done["setting"], done["seed"], strict=True))
    broken = cells[cells["status"].isin(["FAILED", "KILLED"])]
    open_cells = [row for row in broken.itertuples() if (row.setting, row.seed) not in finished]
    if open_cells:
        told = [f"{row.name} ({row.status}{_reason(row.error)})" for row in open_cells]
        yield f"Cells without a result: {_first(told)}."


def _reason(error: object) -> str:
    return f": {error}" if isinstance(error, str) else ""


def _without_seed(name: str) -> str:
    stem, _, last = name.rpartition(" ")
    return stem if last.startswith("s") and last[1:].isdigit() else name


def _first(items: list[str]) -> str:
    more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more
