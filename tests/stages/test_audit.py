"""Stage `audit`: planted faults are found, reported with paths, and fixed by corrections."""

from pathlib import Path

import forked
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from synthetic_dataset import DRAWN, make_faulty_folder

from resnet_mlflow.config import AuditConfig, FitHeadConfig, MainConfig
from resnet_mlflow.stages.audit import run_audit
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.main import run_main
from resnet_mlflow.tracking import find_runs, get_run


@pytest.fixture(scope="module")
def audited(module_store):
    """A folder of faulty pictures, and the outcome and issues of its audit."""
    folder = make_faulty_folder(Path.cwd())
    outcome = run_audit(AuditConfig(dataset=f"folder:{folder}", weights="random", image_size=32))
    path = mlflow.artifacts.download_artifacts(run_id=outcome.run_id, artifact_path="audit", dst_path=str(Path.cwd()))
    return folder, outcome, Path(path)


@pytest.fixture
def issues(audited):
    return pd.read_parquet(audited[2] / "issues.parquet")


def rows(issues: pd.DataFrame, kind: str) -> set[str]:
    return set(issues.loc[issues["kind"] == kind, "path"])


def test_run_audit_finds_what_was_planted(issues):
    assert rows(issues, "twin_across") == {"test/disc/twin.png"}
    assert rows(issues, "copy_across") == {"test/bar/copy.png"}
    assert rows(issues, "unreadable") == {"train/disc/broken.png", "test/bar/notes.png"}
    assert rows(issues, "dark") == {"train/bar/dark.png"}
    # Either of the two may be the one that is wrong.
    assert rows(issues, "contradiction") == {"test/bar/copy.png", "train/disc/1.png"}
    twin = issues[issues["kind"] == "twin_across"].iloc[0]
    assert (twin["other_split"], twin["other_path"], twin["details"]) == ("train", "train/disc/0.png", "flipped")
    assert set(issues["verdict"]) == {""}
    notes = issues[issues["path"] == "test/bar/notes.png"].iloc[0]
    assert (notes["split"], notes["label"]) == ("test", "bar")
    assert "first bytes are not those of an image" in notes["details"]


def test_run_audit_writes_one_table_in_two_forms(audited, issues):
    as_csv = pd.read_csv(audited[2] / "issues.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(as_csv, issues, check_dtype=False)


def test_run_audit_logs_metrics_of_what_it_found(audited, issues):
    metrics = get_run(audited[1].run_id).data.metrics
    assert metrics["audit/test_with_twin"] == 2
    assert metrics["audit/n_images"] == 2 * (DRAWN["train"] + DRAWN["test"]) + 5
    assert metrics["audit/label"] == np.sum(issues["kind"] == "label")
    assert metrics["audit/unreadable"] == 2
    assert (
        metrics["audit/wrong_labels_ci_low"] <= metrics["audit/wrong_labels"] <= metrics["audit/wrong_labels_ci_high"]
    )
    assert metrics["audit/cue_chance"] == 0.5
    leaks = pd.read_parquet(audited[2] / "test_twins.parquet")
    assert set(leaks["path"]) == {"test/disc/twin.png", "test/bar/copy.png"}


def test_run_audit_page_stands_alone_and_escapes_names(audited):
    page = (audited[2] / "audit.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "data:image/webp;base64," in page
    assert "<script>alert" not in page


def test_run_audit_reads_a_share_of_the_pictures_only_once(audited):
    """The features of the audit are those that heads take: nothing is extracted again."""
    n_before = len(find_runs({"stage": "extract"}))
    config = {"dataset": f"folder:{audited[0]}", "weights": "random", "image_size": 32, "on_bad_image": "skip"}
    outcome = run_fit_head(FitHeadConfig(head="prototype", **config))
    assert len(find_runs({"stage": "extract"})) == n_before
    assert "test/accuracy_without_twins" in outcome.metrics


def test_fit_head_on_corrected_data_has_a_digest_of_its_own(audited, tmp_path):
    marked = pd.read_csv(audited[2] / "issues.csv", keep_default_na=False)
    dropped = marked["kind"].isin(["twin_across", "copy_across", "unreadable"])
    marked.loc[dropped, "verdict"] = "drop"
    marked.to_csv(tmp_path / "marked.csv", index=False)
    config = {"dataset": f"folder:{audited[0]}", "weights": "random", "image_size": 32, "on_bad_image": "skip"}
    outcome = run_fit_head(FitHeadConfig(head="prototype", corrections=str(tmp_path / "marked.csv"), **config))
    tags, before = get_run(outcome.run_id).data.tags, get_run(audited[1].run_id).data.tags
    assert tags["corrected_from"] == before["dataset_digest"] != tags["dataset_digest"]
    assert "corrected_from" not in before


def test_audit_of_arrays_in_memory_needs_no_files(store):
    outcome = run_audit(AuditConfig(dataset="digits", weights="random", image_size=32))
    assert outcome.metrics["audit/twin_pairs"] == 0
    assert outcome.metrics["audit/wrong_labels"] < 20


def test_study_with_an_audit_logs_both_scores(audited, tmp_path):
    study = {
        "name": "audited",
        "features": {
            "weights": "random", "dataset": f"folder:{audited[0]}", "image_size": 32, "on_bad_image": "skip",
            "cache_dir": str(tmp_path),
        },
        "audit": {"thumbnails": 10},
        "backbones": ["resnet18"],
        "heads": {"prototype": None},
    }  # fmt: skip
    (tmp_path / "audited.yaml").write_text(yaml.safe_dump(study))
    n_before = len(find_runs({"stage": "audit"}))
    for _ in range(2):  # the second time nothing is left to do
        assert run_main(MainConfig(study=str(tmp_path / "audited.yaml"), report_dir=""))
    assert len(find_runs({"stage": "audit"})) == n_before + 1
    (run,) = find_runs({"stage": "fit_head", "dataset_digest": audits_digest(), "seed": "0", "head": "prototype"})[:1]
    assert run.data.metrics["test/n_twins"] == 2


def audits_digest() -> str:
    return find_runs({"stage": "audit"})[0].data.tags["dataset_digest"]


def test_audit_refuses_in_one_line(store):
    ran = forked.run(["-m", "entrypoints.audit", "--dataset", "folder:/nowhere"], cwd=Path(__file__).parents[2])
    assert ran.returncode == 2
    assert ran.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ran.stderr


def test_audit_of_a_folder_with_hostile_names(store, tmp_path):
    root = make_faulty_folder(tmp_path, names=("=cmd()", "<script>alert(1)<"))
    Image.new("RGB", (40, 40), "red").save(root / "train" / "=cmd()" / "=1+1.png")
    outcome = run_audit(AuditConfig(dataset=f"folder:{root}", weights="random", image_size=32))
    text = Path(
        mlflow.artifacts.download_artifacts(run_id=outcome.run_id, artifact_path="audit/issues.csv")
    ).read_text()
    assert ",=cmd()" not in text
    assert ",'=cmd()" in text
