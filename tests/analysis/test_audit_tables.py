"""What reports say of audits: scores without twins, and what repairing gained."""

import mlflow
import pandas as pd
import pytest

from analysis.report import build_report
from analysis.runs import load_runs
from analysis.tables import TABLES
from resnet_mlflow.config import AuditConfig, FitHeadConfig
from resnet_mlflow.stages.audit import run_audit
from resnet_mlflow.stages.fit_head import run_fit_head


@pytest.fixture(scope="module")
def runs(module_store, make_image_folder, tmp_path_factory):
    """Two seeds of a head before corrections and after, and the audit between them."""
    folder = make_image_folder(tmp_path_factory.mktemp("pictures"))
    # A copy of a training picture in test, and two wrong labels.
    (folder / "test" / "red" / "copy.png").write_bytes((folder / "train" / "red" / "1.png").read_bytes())
    for row in (2, 3):
        (folder / "train" / "red" / f"{row}.png").rename(folder / "train" / "blue" / f"was-red-{row}.png")
    config = {"dataset": f"folder:{folder}", "weights": "random", "image_size": 32}
    for seed in (0, 1):
        run_fit_head(FitHeadConfig(head="prototype", seed=seed, **config))
    audit = run_audit(AuditConfig(**config))
    issues = mlflow.artifacts.download_artifacts(run_id=audit.run_id, artifact_path="audit/issues.csv")
    table = pd.read_csv(issues, keep_default_na=False)
    table.loc[table["kind"] == "copy_across", "verdict"] = "drop"
    moved = pd.DataFrame({"path": [f"train/blue/was-red-{row}.png" for row in (2, 3)], "verdict": "red"})
    marked = folder / "marked.csv"
    pd.concat([table, moved]).astype(object).fillna("").to_csv(marked, index=False)
    for seed in (0, 1):
        run_fit_head(FitHeadConfig(head="prototype", seed=seed, corrections=str(marked), **config))
    return load_runs("resnet-mlflow")


def test_twins_table_tells_both_scores(runs):
    before = runs.frame[runs.frame["corrected_from"].isna()]
    table = TABLES["twins"](before)
    (row,) = table.frame.to_dict("records")
    assert row["n twins"] == 1
    assert row["without twins low"] <= row["without twins"] <= row["without twins high"]
    assert TABLES["twins"](before[before["stage"] != "audit"]) is None


def test_repairs_table_pairs_runs_before_and_after(runs):
    table = TABLES["repairs"](runs.frame)
    (row,) = table.frame.to_dict("records")
    assert (row["head"], row["items"], row["seeds"]) == ("prototype", 12, [0, 1])
    assert len(row["run_ids"]) == 4
    assert row["gain"] == pytest.approx(row["after"] - row["before corrected"])
    assert row["gain low"] <= row["gain"] <= row["gain high"]
    assert TABLES["repairs"](runs.frame[runs.frame["corrected_from"].isna()]) is None


def test_report_links_audits_and_tells_of_twins(runs):
    report = build_report(runs)
    (text,) = report.audits
    assert text.startswith("Audit of colours")
    assert "1 test images with a near-duplicate in train" in text
    assert any("without the 1 test images that have a near-duplicate in train" in line for line in report.missing)
    assert "Audit of colours" in report.to_markdown()
    names = [table.name.split("-")[0] for table in report.tables]
    assert {"twins", "repairs"} <= set(names)
