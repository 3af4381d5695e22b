"""The long-tail stage in one process, with everything real: store, features, models."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import evaluate
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.stages.longtail import choose_methods, run_longtail
from resnet_mlflow.stages.longtail_runs import further_scores, parse_prior
from resnet_mlflow.tracking import find_runs

QUICK = {"imbalance_factor": 20, "seeds": "0", "head_params": "{epochs: 4}"}


def config_of(**values: object) -> LongtailConfig:
    return validate(LongtailConfig, QUICK | values)


def parent_run():
    (run,) = [run for run in find_runs({"stage": "longtail"}, status=None) if "methods" in run.data.tags]
    return run


def runs_of(method):
    return find_runs({"stage": "longtail", "method": method})


def artifact(run, path):
    return Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{path}"))


def test_every_method_runs_on_features_of_digits(store, capsys):
    assert run_longtail(config_of(methods="all"))
    parent = parent_run()
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "longtail linear resnet18 F20"
    table = pd.read_csv(artifact(parent, "comparison.csv")).set_index("method")
    assert set(table.index) == set(METHODS)
    assert table["n seeds"].eq(1).all()
    assert table["val balanced accuracy mean"].is_monotonic_decreasing
    assert table.loc["logit_adjust_posthoc", "few mean"] > table.loc["none", "few mean"]
    for name in METHODS:
        (child,) = runs_of(name)
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.run_name == f"{name} linear resnet18 s0"
        assert child.data.metrics["test/balanced_accuracy"] == table.loc[name, "balanced accuracy mean"]
    assert "| logit_adjust_posthoc |" in capsys.readouterr().out


def test_runs_carry_what_the_schema_promises(store):
    assert run_longtail(config_of(methods="logit_adjust_posthoc"))
    parent, (child,) = parent_run(), runs_of("logit_adjust_posthoc")
    metrics = child.data.metrics
    groups = {f"test/{score}_{name}" for score in ("accuracy", "n_classes") for name in ("many", "medium", "few")}
    means = {"test/worst_class_recall", "test/geometric_mean_recall", "test/harmonic_mean_recall", "test/ece"}
    assert groups | means | {"val/accuracy_few", "time/fit_s"} <= metrics.keys()
    assert [metrics[f"test/n_classes_{name}"] for name in ("many", "medium", "few")] == [1, 5, 4]
    selection = json.loads(artifact(child, "selection.json").read_text())
    best = max(point["val_balanced_accuracy"] for point in selection["curve"])
    chosen = {point["tau"]: point["val_balanced_accuracy"] for point in selection["curve"]}
    assert chosen[selection["chosen"]["tau"]] == best
    assert len(mlflow.MlflowClient().get_metric_history(child.info.run_id, "selection/tau")) == len(chosen) == 21
    assert child.data.tags["chosen.tau"] == f"{selection['chosen']['tau']:g}"
    files = {entry.path for entry in mlflow.MlflowClient().list_artifacts(parent.info.run_id, "figures")}
    assert files == {f"figures/{name}.png" for name in ("class_counts", "class_accuracy", "group_accuracy")}
    assert "| none " in parent.data.tags["mlflow.note.content"]
    assert len(json.loads(artifact(parent, "comparison.json").read_text())["data"]) == 2


def test_long_tailed_training_images_are_a_dataset_with_a_digest(store):
    assert run_longtail(config_of(methods="none", seeds="0,1"))
    (first, second) = [entry.dataset for entry in parent_run().inputs.dataset_inputs]
    assert first.name == second.name == "digits-train"
    assert first.digest != second.digest, "which images stay depends on the seed"
    counts = list(json.loads(first.profile)["class_counts"].values())
    assert counts[0] == pytest.approx(20 * counts[-1], abs=20)
    assert counts == sorted(counts, reverse=True)


def test_validation_and_test_stay_balanced(store):
    assert run_longtail(config_of(methods="none"))
    (child,) = runs_of("none")
    counts = {
        entry.dataset.name: list(json.loads(entry.dataset.profile)["class_counts"].values())
        for entry in child.inputs.dataset_inputs
    }
    assert max(counts["digits-val"]) - min(counts["digits-val"]) <= 2
    assert max(counts["digits-test"]) - min(counts["digits-test"]) <= 2
    assert max(counts["digits-train"]) > 15 * min(counts["digits-train"])


def test_finished_methods_are_not_run_again(store, caplog):
    assert run_longtail(config_of(methods="tau_norm"))
    before = {run.info.run_id for run in find_runs({"stage": "longtail"})}
    caplog.set_level("INFO")
    assert run_longtail(config_of(methods="tau_norm,reweight_sqrt"))
    assert sum("finished before" in record.getMessage() for record in caplog.records) == 2
    after = {run.info.run_id for run in find_runs({"stage": "longtail"})}
    assert len(after - before) == 2, "a new method and a new comparison"
    parents = [run for run in find_runs({"stage": "longtail"}) if "methods" in run.data.tags]
    rows = pd.read_csv(artifact(parents[0], "comparison.csv")).set_index("method")
    own = next(run for run in runs_of("tau_norm"))
    assert rows.loc["tau_norm", "balanced accuracy mean"] == own.data.metrics["test/balanced_accuracy"]


def test_the_same_comparison_continues_in_its_own_run(store):
    config = config_of(methods="none")
    assert run_longtail(config)
    first = parent_run().info.run_id
    assert run_longtail(config)
    assert parent_run().info.run_id == first


@pytest.mark.parametrize("head", ["svm", "knn", "mlp", "prototype"])
def test_other_heads_take_the_methods_that_make_sense(store, head):
    params = "{epochs: 2}" if head == "mlp" else "{}"
    config = config_of(head=head, head_params=params, methods="logit_adjust_posthoc")
    assert run_longtail(config)
    table = pd.read_csv(artifact(parent_run(), "comparison.csv"))
    assert set(table["method"]) == {"none", "logit_adjust_posthoc"}
    assert table["balanced accuracy mean"].min() > 0.4


def test_other_test_prior_scores_both_decisions(store):
    assert run_longtail(config_of(methods="none", test_prior="train"))
    (child,) = runs_of("none")
    plain = child.data.metrics["test/prior_accuracy"]
    assert plain > child.data.metrics["test/balanced_accuracy"], "large classes weigh more"
    assert child.data.metrics["test/prior_accuracy_corrected"] == plain, "its scores are made for the training prior"


def test_further_scores_correct_the_decision_for_the_prior():
    probabilities = [[0.45, 0.55], [0.9, 0.1], [0.4, 0.6], [0.05, 0.95]]
    evaluation = evaluate([0, 0, 1, 1], probabilities, ["a", "b", "c", "d"], ["cat", "dog"])
    scores = further_scores(config_of(test_prior="9,1"), np.array([500, 10]), np.array([0.5, 0.5]))(evaluation)
    assert scores["prior_accuracy"] == pytest.approx(0.9 * 0.5 + 0.1 * 1.0)
    assert scores["prior_accuracy_corrected"] == pytest.approx(0.9 * 1.0 + 0.1 * 0.5)
    assert (scores["accuracy_many"], scores["accuracy_few"]) == (0.5, 1.0)
    assert "accuracy_medium" not in scores, "MLflow cannot compare what is not there"
    assert scores["n_classes_medium"] == 0


def test_trials_are_nested_runs_and_the_best_one_counts(store):
    assert run_longtail(config_of(methods="logit_adjust_posthoc", n_trials=3))
    (child,) = runs_of("logit_adjust_posthoc")
    trials = find_runs({"stage": "trial", "mlflow.parentRunId": child.info.run_id})
    assert len(trials) == 3
    best = max(trials, key=lambda run: run.data.metrics["val/balanced_accuracy"])
    assert child.data.metrics["val/balanced_accuracy"] == best.data.metrics["val/balanced_accuracy"]
    assert float(trials[-1].data.metrics["selection/tau"]) == 1.0, "the first trial has the default"


def test_networks_are_trained_on_long_tailed_images(store, image_folder):
    methods = "oversample,reweight_effective,ldam_drw,tau_norm,ncm,balanced_softmax+logit_adjust_posthoc"
    config = validate(
        LongtailConfig,
        {
            "dataset": f"folder:{image_folder}",
            "image_size": 32,
            "imbalance_factor": 4,
            "train_layers": "layer4",
            "epochs": 2,
            "batch_size": 5,
            "precision": "fp32",
            "seeds": "0",
            "methods": "force:" + methods.split(",")[-1] + "," + ",".join(methods.split(",")[:-1]),
        },
    )
    assert run_longtail(config)
    (plain,), (afterwards,) = runs_of("none"), runs_of("tau_norm")
    history = mlflow.MlflowClient().get_metric_history(plain.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    assert "train/loss" not in afterwards.data.metrics, "it starts from the network of none"
    assert len(find_runs({"stage": "longtail", "train_layers": "layer4"})) == 8
    assert not list(Path(mlflow.get_tracking_uri().removeprefix("sqlite:///")).parent.glob("checkpoints/*/"))

    # A new process has no network at hand: it takes that of the finished run.
    more = config.model_copy(update={"methods": "crt"})
    assert run_longtail(more)
    assert runs_of("crt")[0].data.metrics["val/balanced_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"methods": "balanced_sofmax"}, "did you mean 'balanced_softmax'"),
        ({"methods": "focal", "head": "svm"}, "every method must apply to head svm, got 'focal'"),
        ({"methods": "resample_balanced+balanced_softmax"}, "correct for class frequencies only once"),
        ({"methods": "smote", "train_layers": "all", "head_params": "{}"}, "must work on images .* got 'smote'"),
    ],
)
def test_choose_methods_refuses_in_one_line(values, line):
    with pytest.raises(InputError, match=line) as caught:
        choose_methods(config_of(**values))
    assert "\n" not in str(caught.value)


def test_choose_methods_leaves_out_what_does_not_apply():
    assert "smote" not in choose_methods(config_of(methods="all", train_layers="all", head_params="{}"))
    assert choose_methods(config_of(methods="all", head="prototype")) == ["none", "logit_adjust_posthoc", "ncm"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"imbalance_factor": 5000}, r"imbalance_factor must be in \[1, "),
        ({"test_prior": "1,2"}, "test_prior must be uniform, train, or 10 comma-separated fractions above 0"),
        ({"head_params": "{epochz: 1}"}, "epochz"),
    ],
)
def test_run_longtail_refuses_in_one_line(store, values, line):
    with pytest.raises(InputError, match=line) as caught:
        run_longtail(config_of(methods="none", **values))
    assert "\n" not in str(caught.value)


def test_parse_prior_scales_shares():
    assert parse_prior("uniform", np.array([3, 1])) is None
    np.testing.assert_allclose(parse_prior("train", np.array([3, 1])), [0.75, 0.25])
    np.testing.assert_allclose(parse_prior("1, 4", np.array([3, 1])), [0.2, 0.8])
