"""The study that was really run, once, for all tests that read it; and stores with runs that were only written."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.runs import Runs, load_runs
from analysis.separation import item_scores
from benchmarks.run_store import Record, write_records


@pytest.fixture(scope="session")
def study_folder(demo_store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the study's database, to which repeated runs are added here."""
    folder = tmp_path_factory.mktemp("study-copy")
    shutil.copyfile(demo_store.removeprefix("sqlite:///"), folder / "mlflow.db")
    return folder


@pytest.fixture
def study(study_folder: Path, use_store: Callable) -> Iterator[Runs]:
    """The runs of the finished study, its store being the one in use."""
    with use_store(study_folder):
        yield load_runs("resnet-mlflow")


@pytest.fixture
def written(store: str):
    """Write runs to an experiment of an empty store and load them."""

    def write(*records: Record, experiment: str = "synthetic", **filters) -> Runs:
        write_records(store, experiment, records)
        return load_runs(experiment, **filters)

    item_scores.cache_clear()
    return write
