"""The compare entry point through `mlflow run`, and the report that a study ends with."""

from pathlib import Path

import mlflow


def compare_runs(store):
    return mlflow.MlflowClient(store).search_runs(["1"], "tags.stage = 'compare'")


def test_compare_writes_the_report_and_logs_it(mlflow_run, demo_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    ran = mlflow_run("compare", "tags=seed=0", f"output={tmp_path / 'out'}", options=("--experiment-name", "reports"))
    assert ran.returncode == 0, ran.stderr
    page = tmp_path / "out" / "report.html"
    assert f"Report of experiment resnet-mlflow: {page} (artifact report/report.html of run " in ran.stdout
    assert "| prototype" in ran.stdout, "the first table is printed"
    experiment = mlflow.MlflowClient(demo_store).get_experiment_by_name("reports")
    (run,) = mlflow.MlflowClient(demo_store).search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage"] == "compare"
    assert "One seed (0)" in run.data.tags["mlflow.note.content"]
    logged = Path(
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="report", tracking_uri=demo_store)
    )
    assert (logged / "report.html").read_bytes() == page.read_bytes()
    assert {path.suffix for path in (logged / "figures").iterdir()} == {".png", ".svg", ".pdf"}


def test_compare_refuses_an_unknown_experiment_in_one_line(mlflow_run, demo_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    ran = mlflow_run(
        "compare", "experiment=resnet-mflow", f"output={tmp_path / 'out'}", options=("--experiment-name", "refused")
    )
    assert ran.returncode != 0
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert "did you mean 'resnet-mlflow'" in line
    assert not (tmp_path / "out").exists()
    experiment = mlflow.MlflowClient(demo_store).get_experiment_by_name("refused")
    (run,) = mlflow.MlflowClient(demo_store).search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_study_ends_with_its_report(demo_store):
    (run,) = compare_runs(demo_store)
    assert run.info.status == "FINISHED"
    folder = Path(demo_store.removeprefix("sqlite:///")).parent
    text = (folder / "report" / "report.md").read_text()
    assert "## Which head is best on frozen features?" in text
    assert "## Which long-tail method helps, and for which classes?" in text
