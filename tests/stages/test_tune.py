"""Studies in one process, with everything real: stores, features, models."""

import json
from pathlib import Path

import mlflow
import pytest
import yaml

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.tracking import find_runs, load_config


@pytest.fixture
def study_cache(tmp_path, cache_dir, monkeypatch):
    """A cache whose features are shared with other tests, and whose studies are not."""
    own = tmp_path / "cache"
    own.mkdir()
    (cache_dir / "features").mkdir(parents=True, exist_ok=True)
    (own / "features").symlink_to(cache_dir / "features")
    monkeypatch.setenv("RESNET_MLFLOW_CACHE", str(own))
    return own


def tuned(**values):
    return validate(FitHeadConfig, {"weights": "random", "n_trials": 3, **values})


def trials(**tags):
    runs = find_runs({"stage": "trial", **tags}, status=None)
    return sorted(runs, key=lambda run: int(run.data.tags["trial"]))


def files_of(run_id, folder):
    return {Path(entry.path).name for entry in mlflow.MlflowClient().list_artifacts(run_id, folder)}


def space(folder, **spaces):
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(spaces, sort_keys=False))
    return str(path)


def test_tuned_run_is_an_ordinary_run_with_trials_below(store, study_cache):
    outcome = run_fit_head(tuned(head="knn", n_trials=6))
    run = mlflow.get_run(outcome.run_id)
    assert (run.info.status, run.data.tags["stage"], run.data.tags["head"]) == ("FINISHED", "fit_head", "knn")
    children = trials()
    assert len(children) == 6
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == outcome.run_id
        assert {"dataset_digest", "features_key", "study_name", "distribution.k", "version"} <= child.data.tags.keys()
        assert {"val/accuracy", "val/nll", "time/trial_s"} <= child.data.metrics.keys()
        assert not any(name.startswith("test/") for name in child.data.metrics)
    assert children[0].info.run_name == "trial 0 knn"
    assert children[0].data.params["head.k"] == "3", "the head's defaults come first"
    best = max(children, key=lambda child: child.data.metrics["val/accuracy"])
    assert run.data.tags["best_trial_run_id"] == best.info.run_id
    assert run.data.metrics["val/accuracy"] == best.data.metrics["val/accuracy"]
    assert best.data.params.items() <= run.data.params.items()
    assert json.loads(run.data.tags["best_params"])["k"] == int(run.data.params["head.k"])
    assert run.data.metrics["tuning/n_complete"] == 6
    assert files_of(outcome.run_id, "figures") >= {f"{name}.png" for name in ("optimization_history", "slice")}
    classifier = load_classifier(outcome.run_id)
    assert classifier.head.k == int(run.data.params["head.k"])
    assert yaml.safe_load(load_config(outcome.run_id)["head_params"])["k"] == classifier.head.k


def test_tuning_shows_on_a_terminal_how_many_trials_are_left(store, study_cache, as_terminal):
    with as_terminal as shown:
        run_fit_head(tuned(head="prototype", n_trials=2))
    assert "tuning:   0%" in shown.getvalue()
    assert "2/2" in shown.getvalue()


def test_same_command_finds_its_study_done_and_more_trials_go_on(store, study_cache, caplog):
    caplog.set_level("INFO")
    first = run_fit_head(tuned(head="prototype", n_trials=2, study_name="mine"))
    again = run_fit_head(tuned(head="prototype", n_trials=2, study_name="mine"))
    assert again.run_id == first.run_id
    assert again.metrics["test/accuracy"] == first.metrics["test/accuracy"]
    assert "is already finished" in caplog.text
    more = run_fit_head(tuned(head="prototype", n_trials=5, study_name="mine"))
    assert more.run_id != first.run_id, "a run that has been evaluated is closed"
    assert mlflow.get_run(more.run_id).data.tags["continues"] == first.run_id
    parents = [child.data.tags["mlflow.parentRunId"] for child in trials()]
    assert parents == [first.run_id] * 2 + [more.run_id] * 3


def test_interrupted_study_goes_on_in_its_own_run(store, study_cache, monkeypatch):
    from resnet_mlflow.tuning.head_objective import HeadObjective

    measure, calls = HeadObjective.__call__, []

    def interrupted(self, params, report):
        calls.append(params)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(self, params, report)

    monkeypatch.setattr(HeadObjective, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_fit_head(tuned(head="svm", n_trials=4))
    (parent,) = find_runs({"stage": "fit_head"}, status=None)
    assert parent.info.status == "KILLED"
    assert [child.data.tags["trial_state"] for child in trials()] == ["complete", "complete", "killed"]
    outcome = run_fit_head(tuned(head="svm", n_trials=4))
    assert outcome.run_id == parent.info.run_id
    states = [(child.info.status, child.data.tags["trial_state"]) for child in trials()]
    assert states == [("FINISHED", "complete")] * 2 + [("KILLED", "killed")] + [("FINISHED", "complete")] * 2
    assert trials()[3].data.tags["retry_of"] == "2"
    assert calls[2] == calls[3], "with the same parameters"


def test_failed_trial_ends_failed_and_costs_no_other(store, study_cache, tmp_path):
    path = space(tmp_path, svm={"kernel": ["linear", "rbf"], "loss": ["squared_hinge"], "preprocessing": ["l2"]})
    outcome = run_fit_head(tuned(head="svm", n_trials=2, sampler="grid", search_space=path))
    states = {child.data.params["head.kernel"]: child for child in trials()}
    assert states["rbf"].info.status == "FAILED"
    assert "squared_hinge requires kernel linear" in states["rbf"].data.tags["error"]
    assert mlflow.get_run(outcome.run_id).data.params["head.kernel"] == "linear"
    assert outcome.metrics["val/accuracy"] == states["linear"].data.metrics["val/accuracy"]


def test_poor_epochs_end_a_trial_and_its_run_says_so(store, study_cache, tmp_path):
    # Six trials run to their end before the median counts; a rate of 1e-6 learns nothing in five epochs.
    path = space(tmp_path, mlp={"learning_rate": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 1e-6, 2e-6]})
    config = tuned(head="mlp", n_trials=8, sampler="grid", search_space=path, head_params="{epochs: 6, hidden: 32}")
    run_fit_head(config)
    pruned = trials(trial_state="pruned")
    assert pruned
    for child in pruned:
        assert child.info.status == "KILLED", "only what came to its end counts as FINISHED"
        history = mlflow.MlflowClient().get_metric_history(child.info.run_id, "val/accuracy")
        steps = sorted(point.step for point in history)
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) < 6
    (run,) = find_runs({"stage": "fit_head"})
    assert run.data.metrics["tuning/n_pruned"] == len(pruned)


def test_two_objectives_give_a_pareto_front(store, study_cache):
    outcome = run_fit_head(tuned(head="knn", n_trials=4, second_objective="inference_time"))
    assert "pareto_front.png" in files_of(outcome.run_id, "figures")
    best = mlflow.get_run(mlflow.get_run(outcome.run_id).data.tags["best_trial_run_id"])
    assert best.data.metrics["time/inference_s"] > 0
    assert best.data.metrics["val/accuracy"] == max(child.data.metrics["val/accuracy"] for child in trials())


def test_all_heads_are_tuned_under_one_run(store, study_cache):
    outcome = run_fit_head(tuned(head="all", n_trials=1))
    (parent,) = find_runs({"stage": "tuning"})
    heads = find_runs({"stage": "fit_head"})
    assert {run.data.tags["head"] for run in heads} == {"svm", "knn", "mlp", "prototype", "linear"}
    assert {run.data.tags["mlflow.parentRunId"] for run in heads} == {parent.info.run_id}
    assert len(trials()) == 5
    best = max(heads, key=lambda run: run.data.metrics["val/accuracy"])
    assert outcome.metrics["val/accuracy"] == best.data.metrics["val/accuracy"]
    assert parent.data.tags["best_run_id"] == outcome.run_id
    assert "| prototype |" in parent.data.tags["mlflow.note.content"]


def test_finetune_is_tuned_and_leaves_a_classifier_of_the_best_layers(store, study_cache, image_folder, tmp_path):
    path = space(tmp_path, finetune={"train_layers": ["layer4"], "learning_rate": [0.002, 0.004]})
    config = validate(
        FinetuneConfig,
        {
            "weights": "random",
            "dataset": f"folder:{image_folder}",
            "image_size": 32,
            "precision": "fp32",
            "epochs": 2,
            "n_trials": 2,
            "sampler": "grid",
            "search_space": path,
        },
    )
    outcome = run_finetune(config)
    run = mlflow.get_run(outcome.run_id)
    best = max(trials(), key=lambda child: child.data.metrics["val/accuracy"])
    chosen = json.loads(run.data.tags["best_params"])
    assert run.data.tags["train_layers"] == chosen["train_layers"] == "layer4"
    assert chosen["learning_rate"] == float(best.data.params["learning_rate"])
    assert run.data.metrics["val/accuracy"] == pytest.approx(
        best.data.metrics["val/accuracy"], abs=0.2
    )  # an image of 6
    classifier = load_classifier(outcome.run_id)
    assert classifier.config.weights == f"runs:/{outcome.run_id}"
    assert load_config(outcome.run_id)["learning_rate"] == chosen["learning_rate"]


def test_untuned_runs_keep_their_cache_key(store):
    from resnet_mlflow.stages.preparation import compute_cache_key, prepare

    plain = FitHeadConfig(weights="random")
    inputs = prepare(plain)
    key = compute_cache_key("fit_head", plain, inputs)
    assert compute_cache_key("fit_head", plain.model_copy(update={"sampler": "random"}), inputs) == key
    assert compute_cache_key("fit_head", tuned(), inputs) != key
    assert compute_cache_key("fit_head", tuned(storage="x.journal"), inputs) == compute_cache_key(
        "fit_head", tuned(), inputs
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"head": "svm", "search_space": "knn-dino"}, "search_space of svm must be one of"),
        ({"head": "svm", "pruner": "median"}, "pruner must be auto or none if trials have no epochs"),
        ({"head": "knn", "sampler": "cmaes"}, "sampler cmaes needs at least two numeric parameters"),
        ({"head": "svm", "head_params": "{c: 1}"}, "head_params of svm must be among its parameters, got 'c'"),
        ({"head": "svm", "storage": "postgresql://127.0.0.1:1/x"}, "storage must be a reachable database"),
    ],
)
def test_bad_input_is_refused_before_a_run(store, study_cache, values, line):
    with pytest.raises(InputError, match=line):
        run_fit_head(tuned(**values))
    assert find_runs({}, status=None) == []


def test_changed_space_under_the_same_name_is_refused(store, study_cache, tmp_path):
    config = tuned(head="prototype", n_trials=2, study_name="mine")
    run_fit_head(config)
    path = space(tmp_path, prototype={"metric": ["cosine"]})
    with pytest.raises(InputError, match=r"got a changed one: .* pass study_name=another"):
        run_fit_head(config.model_copy(update={"search_space": path}))
    with pytest.raises(
        InputError, match="must continue with the method that it started with, which is 'prototype', got 'knn'"
    ):
        run_fit_head(config.model_copy(update={"head": "knn"}))
