"""A corruption is a function and a row with constants: one added here goes through the command line."""

import pytest

from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import published
from resnet_mlflow.robustness.groups import of_group
from resnet_mlflow.tracking import find_runs


def posterize(images, random, bits):
    """Return images with the first ``bits`` bits of each value."""
    return images & (0xFF << (8 - int(bits)) & 0xFF)


ROW = published(
    "posterize",
    "extra",
    "digital",
    "test_adding_corruption:posterize",
    "bits",
    at_32=(5, 4, 3, 2, 1),
    at_64=(5, 4, 3, 2, 1),
    at_224=(4, 3, 2, 2, 1),
)


def add() -> None:
    CORRUPTIONS.add(ROW)


def test_an_added_corruption_goes_through_the_command_line(run_added):
    fitted = run_added(__file__, "entrypoints.fit_head", "--head", "prototype")
    assert fitted.returncode == 0, fitted.stderr
    run_id = find_runs({"stage": "fit_head"})[0].info.run_id
    test = ("entrypoints.robustness", "--runs", run_id, "--severities", "strong", "--corruptions")
    refused = run_added(__file__, *test, "posterise")
    assert refused.returncode == 2
    assert "occlusion, posterize, got 'posterise'; did you mean 'posterize'?" in refused.stderr
    ran = run_added(__file__, *test, "fog,extra")
    assert ran.returncode == 0, ran.stderr
    metrics = find_runs({"stage": "robustness", "classifier_run": run_id})[0].data.metrics
    assert metrics["robustness/posterize/accuracy"] < metrics["robustness/clean/accuracy"]
    extra = [metrics[f"robustness/{name}/accuracy"] for name in of_group("extra")]
    assert metrics["robustness/extra/accuracy"] != pytest.approx(sum(extra) / len(extra))
    assert metrics["robustness/extra/accuracy"] == pytest.approx(
        (sum(extra) + metrics["robustness/posterize/accuracy"]) / (len(extra) + 1)
    )
    # Extra ones never count in what the benchmark is scored by.
    assert metrics["robustness/mean/accuracy"] == metrics["robustness/weather/accuracy"]
