"""Processes that are killed, or meet each other: a rerun completes, and nothing broken is read."""

import os
import signal

import mlflow
import pytest
import yaml
from processes import kill_at, start

TRAINING = (
    "--train_layers",
    "layer4",
    "--epochs",
    "4",
    "--precision",
    "fp32",
    "--augmentation",
    "crop",
    "--image_size",
    "16",
)


def finetune_runs():
    return mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'finetune'", output_format="list"
    )


def history(run, metric):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def test_finetune_continues_in_its_own_run_after_a_kill(run_module, store, tmp_path):
    cache = tmp_path / "cache"
    kill_at(start("finetune", *TRAINING, RESNET_MLFLOW_CACHE=str(cache)), "epoch 2:")
    (killed,) = finetune_runs()
    assert run_module("finetune", *TRAINING, RESNET_MLFLOW_CACHE=str(cache)).returncode == 0
    (continued,) = finetune_runs()
    assert continued.info.run_id == killed.info.run_id
    assert continued.info.status == "FINISHED"
    assert not list((cache / "checkpoints").glob("*/")), "checkpoints of a finished training are removed"

    assert run_module("finetune", *TRAINING, RESNET_MLFLOW_CACHE=str(tmp_path / "other")).returncode == 0
    undisturbed = next(run for run in finetune_runs() if run.info.run_id != killed.info.run_id)
    for metric in ("train/loss", "val/accuracy", "train/learning_rate", "test/accuracy", "test/nll"):
        assert history(continued, metric) == history(undisturbed, metric), metric


def test_study_continues_in_its_own_run_after_a_kill(run_module, store, tmp_path):
    study = {"name": "small", "seeds": [0, 1, 2], "backbones": ["resnet18"], "heads": {"prototype": None, "knn": None}}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(study))
    kill_at(start("main", "--study", str(path)), "[2/6]")
    ran = run_module("main", "--study", str(path))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("finished before") >= 2
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (parent,) = [run for run in runs if run.data.tags["stage"] == "study"]
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}, "no run is left as RUNNING"
    finished = [run for run in runs if run.data.tags["stage"] == "fit_head" and run.info.status == "FINISHED"]
    assert len(finished) == 6
    assert {run.data.tags["mlflow.parentRunId"] for run in finished} == {parent.info.run_id}


def test_longtail_continues_in_its_own_run_after_a_kill(run_module, store):
    arguments = ("--imbalance_factor", "20", "--methods", "reweight_sqrt,tau_norm", "--seeds", "0,1")
    kill_at(start("longtail", *arguments), "[2/6]")
    ran = run_module("longtail", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("finished before") >= 2
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'longtail'", output_format="list"
    )
    (parent,) = [run for run in runs if "methods" in run.data.tags]
    assert parent.info.status == "FINISHED"
    finished = [run for run in runs if run.info.status == "FINISHED" and run is not parent]
    assert len(finished) == 6
    assert {run.data.tags["mlflow.parentRunId"] for run in finished} == {parent.info.run_id}
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


def test_extract_in_two_processes_at_once_computes_once(store, tmp_path):
    cache = {"RESNET_MLFLOW_CACHE": str(tmp_path / "cache")}
    extractions = [start("extract", "--image_size", "64", **cache) for _ in range(2)]
    said = [process.communicate(timeout=200)[1] for process in extractions]
    assert [process.returncode for process in extractions] == [0, 0], said
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert sum("throughput/extract_images_per_s" in run.data.metrics for run in runs) == 1


def test_fit_head_after_a_killed_extraction_completes(run_module, store, tmp_path):
    cache = {"RESNET_MLFLOW_CACHE": str(tmp_path / "cache")}
    process = start("fit_head", "--head", "prototype", "--image_size", "96", **cache)
    features = tmp_path / "cache" / "features"
    while process.poll() is None and not list(features.glob("*/*.npy")):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run_module("fit_head", "--head", "prototype", "--image_size", "96", **cache).returncode == 0
    assert len(list(features.glob("*/meta.json"))) == 1


def test_features_are_shared_through_the_tracking_store(run_module, store, tmp_path):
    assert run_module("extract", RESNET_MLFLOW_CACHE=str(tmp_path / "one")).returncode == 0
    ran = run_module("fit_head", "--head", "prototype", RESNET_MLFLOW_CACHE=str(tmp_path / "two"))
    assert ran.returncode == 0, ran.stderr
    assert "fetching features" in ran.stderr
    stages = mlflow.search_runs(search_all_experiments=True)["tags.stage"]
    assert sorted(stages) == ["extract", "fit_head"]


@pytest.mark.parametrize("root_can_write", [os.geteuid() == 0])
def test_extract_on_a_store_that_cannot_be_written_says_so(run_module, store, tmp_path, root_can_write):
    blocked = tmp_path / "file"
    blocked.write_text("")  # A file in the place of a folder stops even root.
    ran = run_module("extract", RESNET_MLFLOW_CACHE=str(blocked / "cache"))
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert str(blocked) in line
    assert "Traceback" not in ran.stderr
