"""The monitor entry point as scripts call it: exit code 3 after an alert, 0 without."""

import mlflow
import numpy as np
from PIL import Image

from resnet_mlflow.config import FitHeadConfig, PromoteConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote


def test_exit_codes_tell_of_alerts(run_module, mlflow_run, tmp_path):
    run_fit_head(FitHeadConfig(head="prototype", weights="random"))
    run_promote(PromoteConfig())
    split = load_digits().splits["test"]
    for name, light in (("usual", 1.0), ("dark", 0.5)):
        (tmp_path / name).mkdir()
        for row in np.random.default_rng(0).permutation(len(split))[:40].tolist():
            Image.fromarray((split.read_image(row) * light).astype(np.uint8)).save(tmp_path / name / f"{row}.png")

    usual = run_module("monitor", "--source", str(tmp_path / "usual"))
    assert usual.returncode == 0, usual.stderr
    assert "no change noticed: artifact monitor/report.html of run " in usual.stderr
    dark = run_module("monitor", "--source", str(tmp_path / "dark"))
    assert dark.returncode == 3, dark.stderr
    assert "ALERT: changed features, " in dark.stderr

    # MLflow takes every code but 0 for a failure of the project, and answers 1; the tag says what it was.
    launched = mlflow_run("monitor", "model=models:/digits-classifier@champion", f"source={tmp_path / 'dark'}")
    assert launched.returncode == 1
    alerts = mlflow.search_runs(search_all_experiments=True, filter_string="tags.alert = 'true'", output_format="list")
    assert {run.data.tags["look"] for run in alerts} == {"2"}
    assert sorted(run.info.status for run in alerts) == ["FAILED", "FINISHED"]
