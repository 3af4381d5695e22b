"""A study that was really run, once, for all tests that read it; nothing here writes to its store."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from analysis.runs import Runs, load_runs
from analysis.separation import item_scores
from benchmarks.run_store import Record, write_records
from resnet_mlflow.config import MainConfig
from resnet_mlflow.stages.main import run_main

STUDY = {
    "name": "tiny",
    "features": {"dataset": "digits", "weights": "random", "image_size": 32},
    "seeds": [0, 1],
    "backbones": ["resnet18"],
    "heads": {"knn": {"k": 5}, "prototype": None, "linear": None},
    "finetune": {"fc": {"train_layers": "fc", "epochs": 2, "learning_rate": 0.01}},
    "longtail": {"tail": {"imbalance_factor": 10, "methods": "tau_norm"}},
    "few_shot": {"heads": ["prototype"], "shots": [1, 8], "samples": 2},
}


@pytest.fixture(scope="session")
def study_folder(empty_store: Path, use_store: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    with use_store(folder):
        assert run_main(MainConfig(study=str(path)))
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
