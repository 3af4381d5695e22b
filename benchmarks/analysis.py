"""Reading a large experiment: our typed table of runs compared with MLflow's untyped one, and how its time grows."""

import os
from pathlib import Path

import mlflow

from analysis.runs import load_runs
from analysis.tables import TABLES, build_all
from benchmarks.growth import growth_row, time_growth
from benchmarks.harness import Row, Work, alternate, limit_row
from benchmarks.run_store import fit_head_records, write_records

EXPERIMENT = "many"


def load_many(folder: Path, quick: bool) -> list[Row]:
    """Return the time of ``load_runs`` relative to that of ``mlflow.search_runs`` for the same runs."""
    n_runs = 1_000 if quick else 12_000
    write_records(os.environ["MLFLOW_TRACKING_URI"], EXPERIMENT, fit_head_records(n_runs))
    ours, theirs = alternate(
        lambda: _checked(len(load_runs(EXPERIMENT).frame), n_runs),
        lambda: _checked(len(mlflow.search_runs(experiment_names=[EXPERIMENT])), n_runs),
        turns=1 if quick else 5,
    )
    return [
        limit_row(
            f"`load_runs` of {n_runs} runs over `mlflow.search_runs`",
            2.0,
            [own / bare for own, bare in zip(ours, theirs, strict=True)],
            unit="x",
            ours=f"{min(ours):.2f} s",
            peer=f"{min(theirs):.2f} s mlflow.search_runs",
        )
    ]


def growth(folder: Path, quick: bool) -> list[Row]:
    """Return the exponent of the time from tracking store to comparison tables, by number of runs."""
    base, turns = (100, 1) if quick else (500, 5)

    def work_of(n_runs: int) -> Work:
        experiment = f"{n_runs} runs"
        write_records(os.environ["MLFLOW_TRACKING_URI"], experiment, fit_head_records(n_runs))
        return lambda: _all_tables(experiment)

    costs = time_growth(work_of, base, turns)
    return [growth_row("the analysis, from the store to all tables, with the runs", 1.05, costs)]


def _all_tables(experiment: str) -> None:
    frame = load_runs(experiment).frame
    tables = {name: build_all(name, frame) for name in TABLES}
    assert tables["heads"]


def _checked(found: int, wanted: int) -> None:
    assert found == wanted
