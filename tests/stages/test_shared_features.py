"""Features that are sent to the tracking store, by one process or by workers, and fetched from it."""

from pathlib import Path

import mlflow
import numpy as np
import pytest

from resnet_mlflow.config import ExtractConfig
from resnet_mlflow.stages import shared_features
from resnet_mlflow.stages.extract import run_extract

SMALL = ExtractConfig(image_size=16, weights="random", precision="fp32")
TEST = ["test.features.npy", "test.labels.npy", "test.ids.npy"]


def config(cache: Path, **changes: object) -> ExtractConfig:
    return SMALL.model_copy(update={"cache_dir": str(cache), **changes})


def extractions() -> list[tuple[str, str, int]]:
    """Return status, whether features are shared, and the number of files, of all extractions; the last one first."""
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return [
        (
            run.info.status,
            run.data.tags.get("shared_features", ""),
            len(mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="features")),
        )
        for run in runs
    ]


def test_features_found_here_are_shared_where_nobody_has(store: str, tmp_path: Path) -> None:
    run_extract(config(tmp_path, share_features=False))
    run_extract(config(tmp_path))
    run_extract(config(tmp_path))
    run_extract(config(tmp_path / "other"))
    shared, not_shared = ("FINISHED", "true", 7), ("FINISHED", "false", 0)
    assert extractions() == [not_shared, not_shared, shared, not_shared]


def test_sending_goes_on_in_the_run_that_was_interrupted(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_mlflow.features.transport.SHARD_ROWS", 500)
    send, sent = shared_features.send_file, list[str]()

    def stopped(run_id: str, file: Path, folder: str) -> None:
        if len(sent) == 4:
            raise KeyboardInterrupt
        sent.append(file.name)
        send(run_id, file, folder)

    monkeypatch.setattr(shared_features, "send_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_extract(config(tmp_path))
    assert extractions() == [("KILLED", "", 4)]
    before = list(sent)

    def noted(run_id: str, file: Path, folder: str) -> None:
        sent.append(file.name)
        send(run_id, file, folder)

    monkeypatch.setattr(shared_features, "send_file", noted)

    made = run_extract(config(tmp_path))

    assert extractions() == [("FINISHED", "true", 9)]
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert "error" not in run.data.tags
    assert before == [*TEST, "train.features.00000000.npy"]
    rest = [f"train.features.{first:08d}.npy" for first in (500, 1000)]
    assert sent[len(before) :] == [*rest, "train.labels.npy", "train.ids.npy", "meta.json"]
    fetched = run_extract(config(tmp_path / "other"))
    assert fetched.meta["worker"] == made.meta["worker"]
    assert np.array_equal(fetched.splits["train"].features, made.splits["train"].features)
