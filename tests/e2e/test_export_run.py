"""The export entry point through `mlflow run`, as a user types it."""

from pathlib import Path

import mlflow
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.stages.fit_head import run_fit_head


@pytest.mark.slow
def test_export_of_a_run_in_int8_keeps_its_accuracy(mlflow_run, run_module):
    run_id = run_fit_head(FitHeadConfig(head="linear", weights="random", precision="fp32")).run_id
    ran = mlflow_run("export", f"run_id={run_id}", "format=openvino", "precision=fp32,int8", "margin=0.05")
    assert ran.returncode == 0, ran.stderr
    assert "| openvino-fp32   | 1.0000 " in ran.stdout
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'export'", output_format="list"
    )
    assert (run.info.status, run.data.tags["classifier_run"], run.data.tags["head"]) == ("FINISHED", run_id, "linear")
    metrics = run.data.metrics
    assert metrics["export/openvino-fp32/max_score_difference"] < 1e-4
    assert metrics["export/openvino-int8/difference_ci_low"] > -0.05
    assert metrics["export/openvino-int8/size_mb"] < 0.3 * metrics["export/openvino-fp32/size_mb"]
    files = Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/export"))
    assert {path.name for path in (files / "openvino-int8").iterdir()} == {"model.bin", "model.xml"}
    refused = run_module("export", "--run_id", run_id, "--precision", "fp8")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: precision must be one of fp32, fp16, int8, bf16, got 'fp8'; did you mean 'fp32'?\n"
