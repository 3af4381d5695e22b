"""Cross-validation in one process, on a small folder, with everything real."""

import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import partition
from resnet_mlflow.stages import cross_validation
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.cross_validation import divide_all, fold_inputs
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.stages.preparation import prepare
from resnet_mlflow.tracking import find_runs, load_out_of_fold, load_predictions


@pytest.fixture(scope="module")
def flat(module_store, make_image_folder, tmp_path_factory):
    """A folder of colours without splits: 14 images of each of three classes."""
    split_folder, root = (
        make_image_folder(tmp_path_factory.mktemp("split")),
        tmp_path_factory.mktemp("flat") / "colours",
    )
    for file in split_folder.rglob("*.png"):
        target = root / file.parent.name / f"{file.parent.parent.name}{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return f"folder:{root}"


def knn(dataset, **given):
    own = {"dataset": dataset, "head": "knn", "weights": "random", "image_size": 32, "folds": 2}
    return FitHeadConfig(**own | given)


@pytest.fixture(scope="module")
def divided(flat):
    """The run of a cross-validated head, 2 x 2 folds."""
    return run_fit_head(knn(flat, repeats=2))


def children(run_id, stage="fold"):
    return [
        run for run in find_runs({"stage": stage}, status=None) if run.data.tags.get("mlflow.parentRunId") == run_id
    ]


def test_fit_head_predicts_every_image_once_per_repeat(divided):
    run = mlflow.get_run(divided.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "knn resnet18 s0 2 x 2 folds"
    assert {"stage": "fit_head", "folds": "2", "repeats": "2", "pool": "train+test"}.items() <= run.data.tags.items()
    path = "evaluation/cross_validation/predictions.parquet"
    table = pd.read_parquet(mlflow.artifacts.download_artifacts(run_id=divided.run_id, artifact_path=path))
    scores = ["score_blue", "score_green", "score_red"]
    known = ["item_id", "path", "group"]
    assert list(table.columns) == [*known, "label", "prediction", *scores, "fold", "repeat"]
    assert len(table) == 84
    assert table.groupby("repeat")["item_id"].nunique().tolist() == [42, 42]
    metrics = run.data.metrics
    assert metrics["cv_pooled_accuracy"] == pytest.approx((table["label"] == table["prediction"]).mean())
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece"):
        assert metrics[f"cv_{name}_ci_low"] <= metrics[f"cv_{name}"] <= metrics[f"cv_{name}_ci_high"]
    assert not any(name.startswith(("test/", "val/")) for name in metrics)
    assert "2 x 2 folds" in run.data.tags["mlflow.note.content"]


def test_folds_are_runs_below_the_configuration(divided):
    folds, metrics = children(divided.run_id), mlflow.get_run(divided.run_id).data.metrics
    assert {run.info.status for run in folds} == {"FINISHED"}
    text = sorted((run.data.tags["repeat"], run.data.tags["fold"], run.data.tags["seed"]) for run in folds)
    assert text == [("0", "0", "0"), ("0", "1", "0"), ("1", "0", "1"), ("1", "1", "1")]
    for name, of_folds in (("cv_accuracy", "test/accuracy"), ("cv_val_accuracy", "val/accuracy")):
        assert metrics[name] == pytest.approx(np.mean([run.data.metrics[of_folds] for run in folds]))
    # Features are computed once, below the configuration, and every fold has them.
    (extraction,) = children(divided.run_id, "extract")
    assert {run.data.tags["features_key"] for run in folds} == {extraction.data.tags["features_key"]}
    one, found = folds[0], load_out_of_fold(divided.run_id)
    rows = (found.repeats == int(one.data.tags["repeat"])) & (found.folds == int(one.data.tags["fold"]))
    assert found.predictions.item_ids[rows].tolist() == load_predictions(one.info.run_id).item_ids.tolist()


def test_finished_folds_are_not_run_again(divided, flat):
    n_before = len(find_runs({"stage": "fold"}))
    again = run_fit_head(knn(flat, repeats=2))
    assert (again.run_id, again.metrics["cv_accuracy"]) == (divided.run_id, divided.metrics["cv_accuracy"])
    fewer = run_fit_head(knn(flat))  # Its folds are those of the first repeat.
    assert fewer.run_id != divided.run_id
    assert len(find_runs({"stage": "fold"})) == n_before
    few, many = load_out_of_fold(fewer.run_id), load_out_of_fold(divided.run_id)
    assert np.array_equal(many.predictions.scores[many.repeats == 0], few.predictions.scores)


def test_an_interrupted_cross_validation_continues_with_the_folds_that_are_missing(flat, monkeypatch):
    looks = iter([None, KeyboardInterrupt()])

    def stop_at_second():
        if (error := next(looks, None)) is not None:
            raise error

    config = knn(flat, head="prototype")
    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "raise_if_stopped", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            run_fit_head(config)
    (killed,) = find_runs({"stage": "fit_head", "head": "prototype"}, status=None)
    assert killed.info.status == "KILLED"
    done = {run.info.run_id for run in children(killed.info.run_id)}
    outcome = run_fit_head(config)
    assert outcome.run_id == killed.info.run_id
    assert mlflow.get_run(outcome.run_id).info.status == "FINISHED"
    folds = {run.info.run_id for run in children(outcome.run_id)}
    assert (len(done), len(folds), done < folds) == (1, 2, True)


def test_a_given_test_split_is_not_looked_at(module_store, make_image_folder, tmp_path):
    config = knn(f"folder:{make_image_folder(tmp_path)}", head="prototype")
    outcome = run_fit_head(config)
    run = mlflow.get_run(outcome.run_id)
    assert run.data.tags["pool"] == "train"
    given = set(prepare(config).dataset.splits["test"].item_ids)
    assert not given & set(load_out_of_fold(outcome.run_id).predictions.item_ids)
    text = "The dataset's own test split (12 images) was not used."
    assert text in run.data.tags["mlflow.note.content"]


def test_what_a_fold_chooses_by_holds_nothing_of_it(flat):
    config = knn(flat, folds=3)
    inputs = prepare(config)
    (division,) = divide_all(config, inputs)
    part = fold_inputs(inputs, division, "fit_head", 0, 1)
    splits = partition(ensure_features(config, part), config.val_fraction, config.seed)
    held = set(part.dataset.splits["test"].item_ids)
    assert set(splits["test"].item_ids) == held
    assert not held & (set(splits["train"].item_ids) | set(splits["val"].item_ids))
    assert len(splits["train"]) + len(splits["val"]) + len(held) == 42


def test_tuning_takes_place_within_each_training_part(flat):
    outcome = run_fit_head(knn(flat, n_trials=1, study_name="mine"))
    folds = children(outcome.run_id)
    assert len({fold.data.tags["study_name"] for fold in folds}) == len(folds) == 2
    for fold in folds:
        assert len(children(fold.info.run_id, "trial")) == 1
        assert "best_trial" in fold.data.tags


@pytest.mark.parametrize("train_layers", ["fc", "layer4"])
def test_finetune_trains_a_network_per_fold(flat, train_layers):
    config = FinetuneConfig(
        dataset=flat, folds=2, epochs=1, train_layers=train_layers, weights="random", image_size=32, batch_size=8
    )
    outcome = run_finetune(config)
    table = load_out_of_fold(outcome.run_id)
    assert len(set(table.predictions.item_ids)) == len(table.predictions.item_ids) == 42
    folds = children(outcome.run_id)
    assert len(folds) == 2
    assert all("train/loss" in fold.data.metrics for fold in folds)
    # A frozen backbone has one set of features, trained ones have one each.
    assert len({fold.data.tags["features_key"] for fold in folds}) == (1 if train_layers == "fc" else 2)


def test_unusable_folds_are_refused_before_there_is_a_run(flat):
    with pytest.raises(InputError, match="folds must be at most the images of the smallest class, got 20 for 14"):
        run_fit_head(knn(flat, head="svm", folds=20))
    assert not find_runs({"stage": "fit_head", "head": "svm"}, status=None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, r"folds must be 0 \(the dataset's test split\) or at least 2, got 1"),
        ({"repeats": 2}, "repeats is used only if folds is above 0, got repeats=2; pass folds=5"),
        ({"folds": 5, "head": "all", "n_trials": 3}, "folds must be 0 for head all, got 5; cross-validate one head"),
        ({"folds": 2, "repeats": 2, "seed": 2**31 - 1}, "seed . repeats must be at most 2147483648, got repeats=2"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        validate(FitHeadConfig, values)


def test_runs_of_folds_are_no_classifiers_to_go_on_with(divided):
    with pytest.raises(InputError, match=r"which contains no classifier; promote it"):
        load_classifier(divided.run_id)
    with pytest.raises(InputError, match="a classifier must come from"):
        load_classifier(children(divided.run_id)[0].info.run_id)


def test_longtail_compares_methods_on_the_same_folds(flat, capsys):
    config = LongtailConfig(
        dataset=flat,
        folds=2,
        methods="tau_norm",
        imbalance_factor=2,
        weights="random",
        image_size=32,
        head_params="{epochs: 2}",
    )
    assert run_longtail(config)
    text = capsys.readouterr().out
    assert "| tau_norm |" in text
    assert "1 x 2 folds" in text
    (whole,) = [run for run in find_runs({"stage": "longtail"}) if "methods" in run.data.tags]
    methods = {run.data.tags["method"]: run for run in children(whole.info.run_id, "longtail")}
    assert set(methods) == {"none", "tau_norm"}
    for run in methods.values():
        folds = children(run.info.run_id)
        assert len(folds) == 2
        assert run.data.metrics["cv_balanced_accuracy"] == pytest.approx(
            np.mean([fold.data.metrics["test/balanced_accuracy"] for fold in folds])
        )
    first, second = (load_out_of_fold(run.info.run_id).crossed() for run in methods.values())
    assert first.item_ids.tolist() == second.item_ids.tolist()
    assert np.array_equal(first.folds, second.folds)
    n_runs = len(find_runs({"stage": "fold"}))
    assert run_longtail(config)
    assert len(find_runs({"stage": "fold"})) == n_runs


def test_longtail_refuses_seeds_beside_folds():
    with pytest.raises(InputError, match="seeds must be left out if folds is above 0, got '0,1'; repeats draws"):
        validate(LongtailConfig, {"folds": 2, "seeds": "0,1"})
