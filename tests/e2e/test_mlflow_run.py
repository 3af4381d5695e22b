"""Every entry point through `mlflow run`, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig

PROJECT = Path(__file__).parents[2]


def only_run(stage):
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.stage = '{stage}'", output_format="list"
    )
    return run


def launched_runs():
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_fit_head_extracts_missing_features_in_a_nested_run(mlflow_run, tmp_path):
    ran = mlflow_run(
        "fit_head",
        "head=knn",
        "head_params={k: 5}",
        f"cache_dir={tmp_path / 'cache'}",
        "share_features=false",
        "data_dir=",
    )
    assert ran.returncode == 0, ran.stderr
    run, extraction = only_run("fit_head"), only_run("extract")
    assert run.info.status == extraction.info.status == "FINISHED"
    assert extraction.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert run.data.params["share_features"] == "false"
    # MLflow records what it was given as shell text: '' for nothing. config.json holds the value itself.
    assert run.data.params["data_dir"] == "''"
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/config.json")["data_dir"] == ""
    assert run.data.params["head.k"] == "5"
    assert run.data.metrics["test/accuracy"] > 0.8
    assert run.info.run_name == "knn resnet18 s0"


def test_finetune_takes_another_spelling_of_a_number(mlflow_run):
    ran = mlflow_run("finetune", "learning_rate=1e-2", "epochs=2", options=("--experiment-name", "mine"))
    assert ran.returncode == 0, ran.stderr
    run = only_run("finetune")
    assert run.data.params["learning_rate"] == "1e-2"
    config = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/config.json")
    assert FinetuneConfig(**config).learning_rate == 0.01
    assert mlflow.get_experiment(run.info.experiment_id).name == "mine"


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("bakcbone=resnet50", "unknown parameter 'bakcbone'; did you mean 'backbone'?"),
        ("val_fraction=1.5", "val_fraction must be less than 1.0, got '1.5'"),
        ("head_params={c: 1}", "C"),
        ("dataset=digitz", "did you mean 'digits'?"),
    ],
)
def test_fit_head_refuses_in_one_line_and_fails_the_run(mlflow_run, parameter, line):
    ran = mlflow_run("fit_head", parameter)
    assert ran.returncode != 0
    (message,) = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
    assert line in message
    (run,) = launched_runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == message.removeprefix("error: ")


def test_main_runs_a_study_and_skips_its_finished_cells(mlflow_run, tmp_path):
    study = {
        "name": "tiny",
        "seeds": [0, 1],
        "backbones": ["resnet18"],
        "heads": {"prototype": None, "svm": {"loss": "squared_hinge"}},
        "finetune": {"fc": {"epochs": 2}},
    }
    path = tmp_path / "tiny.yaml"
    # That loss with another kernel is refused when the head is fitted: those cells fail, and must not cost the others.
    path.write_text(yaml.safe_dump(study))
    first = mlflow_run("main", f"study={path}")
    assert first.returncode != 0
    assert "[1/6] prototype resnet18 s0: val 0." in first.stderr or "prototype resnet18 s0" in first.stderr
    assert "loss squared_hinge requires kernel linear" in first.stderr
    parent = only_run("study")
    assert parent.info.status == "FAILED"
    assert parent.data.tags["error"] == "2 of 6 cells failed"
    assert f"Report of the runs: artifacts comparison.md and comparison.csv of run {parent.info.run_id}" in first.stdout
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/comparison.csv"))
    assert set(table["method"]) == {"prototype", "finetune fc"}
    assert set(table["n seeds"]) == {2}
    second = mlflow_run("main", f"study={path}")
    assert second.stderr.count("finished before") == 4
    assert only_run("study").info.run_id == parent.info.run_id


def test_extract_then_fit_on_a_folder_of_images(mlflow_run, image_folder, tmp_path):
    cache = f"cache_dir={tmp_path / 'cache'}"
    ran = mlflow_run("extract", f"dataset=folder:{image_folder}", "image_size=32", cache)
    assert ran.returncode == 0, ran.stderr
    run = only_run("extract")
    assert run.data.metrics["throughput/extract_images_per_s"] > 0
    folder = Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/features"))
    assert json.loads((folder / "meta.json").read_text())["backbone"] == "resnet18"
    ran = mlflow_run("fit_head", f"dataset=folder:{image_folder}", "image_size=32", "head=linear", cache)
    assert ran.returncode == 0, ran.stderr
    config = mlflow.artifacts.load_dict(f"{only_run('fit_head').info.artifact_uri}/config.json")
    assert FitHeadConfig(**config).head == "linear"
    assert only_run("extract").info.run_id == run.info.run_id, "present features are not extracted again"


@pytest.mark.slow
def test_fit_head_runs_in_an_environment_that_uv_makes(store, tmp_path, cache_dir):
    if shutil.which("uv", path=Path(sys.executable).parent) is None:
        pytest.skip("uv is not in this environment")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_ENV_ROOT": str(tmp_path / "environments"),
        "UV_CONSTRAINT": str(PROJECT / "constraints.txt"),
        "RESNET_MLFLOW_CACHE": str(cache_dir),
    }
    ran = subprocess.run(
        ["mlflow", "run", str(PROJECT), "-e", "fit_head", "-P", "head=prototype", "--env-manager", "uv"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert only_run("fit_head").info.status == "FINISHED"
