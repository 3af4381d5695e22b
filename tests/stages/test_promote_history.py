"""What the registry tells of itself: histories, rollbacks, ties, one experiment, and copies in another store."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest

from analysis.cli import run
from resnet_mlflow.cli import parse
from resnet_mlflow.config import FitHeadConfig, PromoteConfig, RobustnessConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.candidates import find_candidate
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.stages.robustness import run_robustness
from resnet_mlflow.tracking import (
    aliases_of,
    find_runs,
    get_run,
    load_json,
    load_served,
    log_copy,
    model_id_of,
    other_store,
    read_history,
)


@pytest.fixture(scope="module")
def runs(module_store):
    """Run ids of three heads on digits, the best of which is the SVM."""
    return {
        head: run_fit_head(FitHeadConfig(head=head, weights="random")).run_id for head in ("svm", "knn", "prototype")
    }


def promote(name, **given):
    return run_promote(PromoteConfig(model_name=name, calibrate="none", **given))


def version(name, number):
    return mlflow.MlflowClient().get_model_version(name, str(number))


@pytest.fixture(scope="module")
def story(runs):
    """A model with a first champion, one that beat it, a rollback by hand of neither, and one of ours."""
    promote("story", run_id=runs["prototype"])
    promote("story", run_id=runs["svm"])
    promote("story", action="rollback", reason="night images fail")
    return "story"


def test_history_tells_who_when_why_and_by_what_difference(story, runs):
    history = read_history(story)
    assert history.remarks == ()
    assert [entry.action for entry in history.entries] == ["promote", "promote", "rollback"]
    assert [dict(entry.after) for entry in history.entries] == [
        {"champion": "1"},
        {"champion": "2", "challenger": "1"},
        {"champion": "1", "challenger": "2"},
    ]
    second = history.entries[1]
    assert second.why.startswith("test accuracy differs by +")
    assert second.facts["test_difference_interval"] in second.why
    assert second.facts["compared_with_run"] == runs["prototype"]
    assert second.user
    assert second.host
    assert second.when.endswith("+00:00")
    assert history.entries[2].why == "night images fail"
    assert {entry.run_id for entry in history.entries} == {run.info.run_id for run in find_runs({"model_name": story})}
    tags = version(story, 2).tags
    assert "promote: no alias -> champion (test accuracy differs by" in tags["history.0002"]
    assert "rollback: champion -> challenger (night images fail)" in tags["history.0003"]
    assert tags["withdrawn"] == "night images fail"


def test_history_of_an_earlier_run_stays_as_it_was(story):
    runs = [entry.run_id for entry in read_history(story).entries]
    texts = [mlflow.artifacts.load_text(f"runs:/{run}/history.jsonl") for run in runs]
    assert [text.count("\n") for text in texts] == [1, 2, 3]
    assert texts[2].startswith(texts[1])
    assert texts[1].startswith(texts[0])


def test_rollback_is_not_undone_by_the_next_promotion(story, runs, caplog):
    assert aliases_of(story) == {"champion": "1", "challenger": "2"}
    with caplog.at_level("INFO"):
        found = promote(story, dry_run=True)
    assert found.run_id == runs["knn"], "the SVM is the best by validation, and was rolled back"
    assert f"run {runs['svm']}, whose version was rolled back (night images fail)" in caplog.text
    # Its look is no new one: the same two were compared before. Those of others go on from there.
    assert promote(story, run_id=runs["svm"], dry_run=True).decision.look == 1
    assert found.decision.look == 2


def test_looks_outlive_versions_and_metrics_count_apart(runs):
    promote("looks", run_id=runs["prototype"])
    promote("looks", run_id=runs["knn"], margin=0.5)
    assert promote("looks", run_id=runs["knn"], margin=0.5, metric="balanced_accuracy").decision.look == 2
    assert "Decision 2 on this test split for this model, at level 0.01667" in version("looks", 2).description
    mlflow.MlflowClient().delete_model_version("looks", "2")
    assert promote("looks", run_id=runs["svm"], dry_run=True).decision.look == 3
    assert promote("looks", run_id=runs["knn"], dry_run=True).decision.look == 1


def test_rollback_refuses_in_one_line_what_cannot_be(runs):
    promote("back", run_id=runs["prototype"])
    back = {"action": "rollback", "reason": "a test"}
    refused = {
        "a rollback needs a reason, got none; pass reason=": {"action": "rollback"},
        "a previous champion, got version 1 of back, the first; pass model_version=": back,
        "must go to another version, got the champion, 1": back | {"model_version": 1},
        r"model_version must be a version of back \(1\), got 7": back | {"model_version": 7},
    }
    for message, given in refused.items():
        with pytest.raises(InputError, match=message):
            promote("back", **given)
    with pytest.raises(InputError, match=r"needs a champion of nobody, got none"):
        promote("nobody", **back)
    promote("back", run_id=runs["svm"])
    source = Path(mlflow.MlflowClient().get_logged_model(model_id_of(version("back", 1))).artifact_location)
    weights = source / "data" / "classifier" / "backbone.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(
        InputError,
        match=r"files of version 1 of back must be unchanged since packaging .* restore them in the store",
    ):
        promote("back", **back)
    source.rename(source.with_name("gone"))
    with pytest.raises(InputError, match="needs the files of version 1 of back, got none in the store"):
        promote("back", **back)
    assert aliases_of("back") == {"champion": "2", "challenger": "1"}
    assert len(read_history("back").entries) == 2


def test_history_tells_what_others_did_and_what_was_changed(runs):
    for head in ("prototype", "svm"):
        promote("found", run_id=runs[head])
    mlflow.MlflowClient().set_registered_model_alias("found", "champion", "1")
    promote("found", action="rollback", model_version=2, reason="the SVM it is")
    entries = read_history("found").entries
    assert [entry.action for entry in entries] == ["promote", "promote", "found", "rollback"]
    assert entries[2].after == {"champion": "1", "challenger": "1"}
    lines = mlflow.artifacts.load_text(f"runs:/{entries[-1].run_id}/history.jsonl").splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"why": "it was better"}, sort_keys=True)
    mlflow.MlflowClient().log_text(entries[-1].run_id, "".join(f"{line}\n" for line in lines), "history.jsonl")
    assert read_history("found").remarks == ("entry 2 was changed after it had been written",)


def test_promote_looks_in_one_experiment_and_takes_ties_by_rule(runs, caplog):
    client, svm = mlflow.MlflowClient(), get_run(runs["svm"])
    other = client.create_experiment("other")
    dataset = load_digits()
    best = svm.data.metrics["val/accuracy"]
    # Of these only tags and scores are looked at.
    for backbone, score in (("resnet50", best), ("resnet18", best), ("resnet18", best), ("resnet18", best - 0.1)):
        tags = {"stage": "fit_head", "dataset_digest": dataset.digest, "backbone": backbone, "image_size": "64"}
        made = client.create_run(other, tags=tags)
        client.log_metric(made.info.run_id, "val/accuracy", score)
        client.set_terminated(made.info.run_id, "FINISHED")
    assert promote("one", dry_run=True).run_id == runs["svm"]
    chosen = find_candidate(PromoteConfig(experiment="other"), dataset, "one")
    oldest = find_runs({"backbone": "resnet18", "stage": "fit_head"}, experiment_ids=[other])[-1]
    assert chosen.run.info.run_id == oldest.info.run_id
    assert chosen.remarks == {
        "experiment": "other",
        "tie": f"3 runs have val/accuracy {best:.4f}: its backbone has the fewest multiply-adds (0.15 G per image), "
        "and it is the oldest of 2 such runs",
    }
    with caplog.at_level("INFO"):
        find_candidate(PromoteConfig(experiment="other", run_id=runs["svm"]), dataset, "one")
    assert f"run {runs['svm']} belongs to experiment resnet-mlflow, not to other" in caplog.text
    client.create_experiment("empty")
    with pytest.raises(InputError, match=r"got none in experiment 'empty'; pass experiment=NAME of .*other \(4\)"):
        find_candidate(PromoteConfig(experiment="empty"), dataset, "one")
    with pytest.raises(InputError, match=r"experiment must be one of .*got 'othre'; did you mean 'other'"):
        find_candidate(PromoteConfig(experiment="othre"), dataset, "one")


def test_copy_brings_a_version_to_another_store(story, empty_store, tmp_path):
    target = f"sqlite:///{tmp_path / 'other.db'}"
    given = {"action": "copy", "target_uri": target}
    promote(story, **given)
    promote(story, **given | {"model_version": 2}, reason="for comparison")
    promote(story, **given)
    images = load_digits().splits["test"]
    pixels = np.stack([images.read_image(row) for row in range(8)])
    here = load_served(f"models:/{story}@champion").predict(pixels)
    with other_store(target, "resnet-mlflow"):
        assert aliases_of(story) == {"champion": "1", "challenger": "2"}
        there = load_served(f"models:/{story}@champion").predict(pixels)
        copied, history = version(story, 1), read_history(story)
        digests = load_json(history.entries[0].run_id, "package_digests.json")
        origin = mlflow.artifacts.load_text(f"runs:/{history.entries[0].run_id}/origin/history.jsonl")
        with pytest.raises(
            InputError, match=r"must have been promoted in this store, got version 1 .*promote there and copy"
        ):
            promote(story, run_id=_fitted_there().run_id)
        card = copied.tags["model_card_run"]
        assert "# Model card: story, version 1" in mlflow.artifacts.load_text(f"runs:/{card}/model_card.md")
    assert copied.description.count("Model card: ") == 1
    assert here.equals(there)
    assert [entry.action for entry in history.entries] == ["copy", "copy"]
    assert copied.tags["copied_from"].endswith("version 1")
    assert copied.tags["files_digest"] == version(story, 1).tags["files_digest"]
    assert "data/classifier/backbone.safetensors" in digests
    assert origin.splitlines() == [entry.line for entry in read_history(story).entries]
    assert not [tag for tag in copied.tags if tag == "history.0002"]


def _fitted_there():
    return run_fit_head(FitHeadConfig(head="prototype", weights="random"))


def test_copy_refuses_its_own_store_and_what_does_not_answer(story, module_store):
    for target in ("", module_store):
        with pytest.raises(InputError, match="target_uri must be another tracking server or store"):
            promote(story, action="copy", target_uri=target)
    with pytest.raises(InputError, match=r"target_uri=http://127\.0\.0\.1:1: the tracking server must answer"):
        promote(story, action="copy", target_uri="http://127.0.0.1:1")
    with pytest.raises(InputError, match="copy needs a version, got version 9 of story"):
        promote(story, action="copy", target_uri="http://127.0.0.1:1", model_version=9)
    assert mlflow.get_tracking_uri() == module_store


def test_actions_are_named():
    with pytest.raises(InputError, match="action must be one of 'promote', 'rollback' or 'copy', got 'rolback'"):
        parse(PromoteConfig, ["--action", "rolback"])


def test_history_is_printed(story, capsys):
    run(["history", story])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"# History of {story}"
    assert "| - -> v1 " in lines[4]
    assert "| v1 -> v2 | - -> v1 " in " ".join(lines[5].split())
    assert "| rollback | v2 -> v1 | v1 -> v2 | night images fail |" in " ".join(lines[6].split())
    with pytest.raises(InputError, match="a history needs a registered model, got 'stroy'"):
        run(["history", "stroy"])


def test_a_card_is_written_anew_with_what_was_measured_since(story, runs):
    first = version(story, 1).tags["model_card_run"]
    n_entries = len(read_history(story).entries)
    assert "> Not measured: run robustness" in mlflow.artifacts.load_text(f"runs:/{first}/model_card.md")
    run_robustness(RobustnessConfig(runs=runs["prototype"], corruptions="fog", severities="5", max_images=60))
    curve = {"corruption": "fog", "severity": 5, "n_images": [10, 40], "power": [0.4, 0.9], "noticed_from": 40}
    power = {"sentence": "Notices fog.", "target_power": 0.8, "false_alarms": {"alarms": 1, "batches": 50}}
    mlflow.MlflowClient().log_dict(first, power | {"curves": [curve]}, "power_curve.json")
    promote(story, run_id=runs["prototype"])
    again = version(story, 1)
    assert again.tags["model_card_run"] != first
    assert again.description.count("Model card: ") == 1
    text = mlflow.artifacts.load_text(f"runs:/{again.tags['model_card_run']}/model_card.md")
    assert "| clean " in text
    assert "Notices fog." in text
    assert "1 of 50 batches" in text
    assert len(read_history(story).entries) == n_entries, "nothing was decided"


def test_a_copy_that_comes_back_otherwise_is_no_model(module_store, tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {}")
    with mlflow.start_run() as run, pytest.raises(InputError, match=r"a copy must .* got 1 that differ \(MLmodel\)"):
        log_copy(tmp_path, {"MLmodel": "another digest"})
    client = mlflow.MlflowClient()
    (model,) = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    assert str(model.status) == "FAILED"
