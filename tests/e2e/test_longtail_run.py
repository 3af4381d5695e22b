"""The longtail entry point through `mlflow run`, as a user types it."""

import mlflow
import pandas as pd
import pytest
import yaml


def runs_of(stage):
    return mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.stage = '{stage}'", output_format="list"
    )


def test_longtail_compares_methods(mlflow_run):
    ran = mlflow_run("longtail", "imbalance_factor=20", "methods=crt, balanced_softmax", "seeds=0,1", "data_dir=")
    assert ran.returncode == 0, ran.stderr
    (parent,) = [run for run in runs_of("longtail") if "methods" in run.data.tags]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["methods"] == "none,crt,balanced_softmax"
    assert parent.data.params["imbalance_factor"] == "20"
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/comparison.csv"))
    assert set(table["method"]) == {"none", "crt", "balanced_softmax"}
    assert set(table["n seeds"]) == {2}
    assert len(runs_of("longtail")) == 7
    assert "Downloading artifacts" not in ran.stderr


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("imbalance_factor=0.01", "imbalance_factor must be at least 1.0, got '0.01'"),
        ("imbalance_factor=4000", "imbalance_factor must be in [1, "),
        ("methods=logit_ajust_loss", "did you mean 'logit_adjust_loss'"),
        ("seeds=0,0", "seeds must not repeat a seed, got '0,0'"),
        ("many_above=5", "few_below must be at most many_above (5), got 20"),
    ],
)
def test_longtail_refuses_in_one_line_and_fails_the_run(mlflow_run, parameter, line):
    ran = mlflow_run("longtail", parameter)
    assert ran.returncode != 0
    (message,) = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
    assert line in message
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert [run.data.tags["error"] for run in failed] == [message.removeprefix("error: ")]


def test_a_study_has_a_long_tail_part(run_module, store, tmp_path):
    study = {
        "name": "tailed",
        "backbones": ["resnet18"],
        "heads": {"prototype": None},
        "longtail": {"factor20": {"imbalance_factor": 20, "methods": "tau_norm", "head_params": "{epochs: 4}"}},
    }
    path = tmp_path / "tailed.yaml"
    path.write_text(yaml.safe_dump(study))
    ran = run_module("main", "--study", str(path))
    assert ran.returncode == 0, ran.stderr
    (parent,) = [run for run in runs_of("longtail") if "methods" in run.data.tags]
    (study_run,) = runs_of("study")
    assert parent.data.tags["mlflow.parentRunId"] == study_run.info.run_id
    # A study tells its parts in a line each; what they say in full stands on their runs.
    assert "[2/2] longtail factor20 resnet18 (" in ran.stderr
    assert "## Long tail on digits" not in ran.stdout
    assert "## Long tail on digits" in parent.data.tags["mlflow.note.content"]
