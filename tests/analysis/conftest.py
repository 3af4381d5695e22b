"""A study that was really run, once, for all tests that read it; nothing here writes to its store."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
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


def use_store(uri: str, folder: Path, cache_dir: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        patch.delenv(name, raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    patch.setenv("RESNET_MLFLOW_CACHE", str(cache_dir))
    patch.chdir(folder)
    patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    mlflow.set_tracking_uri(uri)


@pytest.fixture(scope="session")
def study_folder(empty_store: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    with pytest.MonkeyPatch.context() as patch:
        use_store(f"sqlite:///{folder / 'mlflow.db'}", folder, cache_dir, patch)
        assert run_main(MainConfig(study=str(path)))
        mlflow.set_tracking_uri(None)
    return folder


@pytest.fixture
def study(study_folder: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """The runs of the finished study, its store being the one in use."""
    use_store(f"sqlite:///{study_folder / 'mlflow.db'}", study_folder, cache_dir, monkeypatch)
    yield load_runs("resnet-mlflow")
    mlflow.set_tracking_uri(None)


@pytest.fixture
def written(store: str):
    """Write runs to an experiment of an empty store and load them."""

    def write(*records: Record, experiment: str = "synthetic", **filters) -> Runs:
        write_records(store, experiment, records)
        return load_runs(experiment, **filters)

    item_scores.cache_clear()
    return write
