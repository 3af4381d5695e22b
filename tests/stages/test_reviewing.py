"""Warnings that runs log of themselves, with everything real: features, heads, studies, the store."""

import json

import mlflow
import yaml

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.review import TAG
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.tracking import find_runs


def warnings_of(run_id):
    """Return the warnings of a run by code, and its note."""
    tags = mlflow.get_run(run_id).data.tags
    found = {name.removeprefix(TAG): text for name, text in tags.items() if name.startswith(TAG)}
    return found, tags["mlflow.note.content"]


def test_a_run_on_few_images_says_so_in_tags_and_note(store, image_folder):
    config = validate(FitHeadConfig, {"dataset": f"folder:{image_folder}", "head": "prototype", "weights": "random"})
    found, note = warnings_of(run_fit_head(config).run_id)
    assert found["W03"].startswith("3 of 3 classes have fewer than 10 train images (blue 8, green 8, red 8); 3 of 3")
    assert "fewer than 5 val images (blue 2, green 2, red 2)" in found["W03"]
    assert "- W03 Classes with too few images: 3 of 3" in note
    assert note.startswith("**prototype on frozen resnet18**")  # what was there before stays
    few_shot = config.model_copy(update={"shots": 1})
    assert "train images" not in warnings_of(run_fit_head(few_shot).run_id)[0]["W03"]  # few by design


def test_a_classifier_without_an_error_on_validation_has_no_temperature(store, image_folder):
    given = {"dataset": f"folder:{image_folder}", "head": "linear", "weights": "random"}
    outcome = run_fit_head(validate(FitHeadConfig, given))
    assert outcome.metrics["val/accuracy"] == 1
    assert warnings_of(outcome.run_id)[0]["W04"] == "the validation data set no lower limit on the temperature"
    uncalibrated = run_fit_head(validate(FitHeadConfig, given | {"calibration": "none"}))
    assert "W04" not in warnings_of(uncalibrated.run_id)[0]


def test_a_study_warns_of_edges_and_of_many_trials_on_few_images(store, image_folder, tmp_path):
    space = tmp_path / "space.yaml"
    # Too strong a penalty everywhere: more C is better up to the end.
    space.write_text(yaml.safe_dump({"linear": {"C": {"low": 1e-9, "high": 1e-6, "log": True, "grid": 3}}}))
    given = {"head": "linear", "weights": "random", "search_space": str(space), "sampler": "grid", "n_trials": 3}
    outcome = run_fit_head(validate(FitHeadConfig, given))
    found, note = warnings_of(outcome.run_id)
    chosen = json.loads(mlflow.get_run(outcome.run_id).data.tags["best_params"])
    assert chosen == {"C": 1e-6}
    assert found["W01"] == "C = 1e-06 is at the high end of 1e-09 to 1e-06"
    assert note.count("W01 Tuned value at the edge of its search space") == 1
    assert "W02" not in found  # 3 trials on 287 images
    few = {"dataset": f"folder:{image_folder}", "head": "knn", "weights": "random", "n_trials": 4}
    found, _ = warnings_of(run_fit_head(validate(FitHeadConfig, few)).run_id)
    assert found["W02"].startswith("the best of 4 trials on 6 validation images may owe up to")
    folds = few | {"cv_folds": 2}
    found, _ = warnings_of(run_fit_head(validate(FitHeadConfig, folds)).run_id)
    assert "on 24 validation images" in found["W02"]


def test_a_fine_tuning_is_reviewed_too(store, image_folder):
    given = {"dataset": f"folder:{image_folder}", "weights": "random", "train_layers": "fc", "epochs": 1}
    assert "W03" in warnings_of(run_finetune(validate(FinetuneConfig, given)).run_id)[0]


def test_a_method_of_a_long_tail_warns_of_the_end_of_its_grid(store):
    given = {
        "weights": "random",
        "methods": "tau_norm,logit_adjust_posthoc",
        "head_params": "{epochs: 1}",
        "seeds": "0",
    }
    assert run_longtail(validate(LongtailConfig, given))
    (run,) = find_runs({"stage": "longtail", "method": "logit_adjust_posthoc"})
    chosen = float(run.data.tags["chosen.tau"])
    found, _ = warnings_of(run.info.run_id)
    # 0 is no correction at all, and no edge; above 2 the grid could go on.
    assert ("W01" in found) == (chosen == 2.0)
    assert "train images" not in found.get("W03", "")  # a long tail has few images by design
