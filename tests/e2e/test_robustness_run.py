"""The robustness entry point through `mlflow run`, as a user types it."""

import mlflow
import pandas as pd
import yaml

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.stages.fit_head import run_fit_head


def runs_of(stage):
    return mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.stage = '{stage}'", output_format="list"
    )


def test_robustness_tests_what_a_filter_matches(mlflow_run):
    run_id = run_fit_head(FitHeadConfig(head="prototype")).run_id
    ran = mlflow_run(
        "robustness", "filter=tags.dataset = 'digits'", "corruptions=contrast, fog", "severities=mild,strong"
    )
    assert ran.returncode == 0, ran.stderr
    (child,) = [run for run in runs_of("robustness") if run.data.tags.get("classifier_run") == run_id]
    (parent,) = [run for run in runs_of("robustness") if "classifier_run" not in run.data.tags]
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert child.data.metrics["robustness/strong/accuracy"] < child.data.metrics["robustness/clean/accuracy"]
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/comparison.csv"))
    assert table["classifier"].tolist() == ["prototype resnet18"]
    refused = mlflow_run("robustness", "filter=tags.dataset = 'digits'", "severities=0")
    assert refused.returncode != 0
    (message,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert message == "error: severity must be 1, 2, 3, 4 or 5, got 0; 1 is the weakest"


def test_a_study_has_a_robustness_part(run_module, store, tmp_path):
    study = {
        "name": "tried",
        "backbones": ["resnet18"],
        "seeds": [0, 1],
        "heads": {"prototype": None},
        "robustness": {"quick": {"corruptions": "contrast", "severities": "mild"}},
    }
    path = tmp_path / "tried.yaml"
    path.write_text(yaml.safe_dump(study))
    ran = run_module("main", "--study", str(path))
    assert ran.returncode == 0, ran.stderr
    (study_run,) = runs_of("study")
    (parent,) = [run for run in runs_of("robustness") if "classifier_run" not in run.data.tags]
    assert parent.data.tags["mlflow.parentRunId"] == study_run.info.run_id
    assert "robustness quick: 2 classifiers (" in ran.stderr
    text = parent.data.tags["mlflow.note.content"]
    assert "## Robustness on digits" in text
    # Two seeds are one row, with a deviation.
    (row,) = [line for line in text.splitlines() if line.startswith("| prototype resnet18 |")]
    assert row.count("±") >= 3
