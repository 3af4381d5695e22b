import numpy as np
import pytest

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import partition
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.tracking import find_runs, get_run, load_predictions, search_runs


def predicted_again(run_id):
    """Test predictions of the loaded classifier on features of its own backbone, by class names."""
    classifier = load_classifier(run_id)
    features = ensure_features(classifier.config, classifier.inputs)
    test = partition(features, classifier.config.val_fraction, classifier.config.seed)["test"]
    return np.array(classifier.class_names)[classifier.head.predict(test.features)]


def test_load_classifier_gives_a_heads_logged_predictions(store):
    run_id = run_fit_head(FitHeadConfig(head="svm")).run_id
    assert predicted_again(run_id).tolist() == load_predictions(run_id).predictions.tolist()
    assert load_classifier(run_id).name == "svm resnet18 s0"


def test_load_classifier_finds_a_fine_tuned_backbone(store):
    run_id = run_finetune(FinetuneConfig(train_layers="layer4", epochs=1)).run_id
    assert predicted_again(run_id).tolist() == load_predictions(run_id).predictions.tolist()
    assert load_classifier(run_id).inputs.weights.label.startswith(f"runs:/{run_id}")


def test_load_classifier_finds_the_backbone_that_another_method_trained(store):
    assert run_longtail(
        LongtailConfig(train_layers="layer4", epochs=1, imbalance_factor=5, seeds="0", methods="tau_norm")
    )
    (run,) = find_runs({"stage": "longtail", "method": "tau_norm"})
    (base,) = find_runs({"stage": "longtail", "method": "none"})
    assert run.data.tags["backbone_run"] == base.info.run_id
    assert run.data.tags["features_key"] == base.data.tags["features_key"]
    assert predicted_again(run.info.run_id).tolist() == load_predictions(run.info.run_id).predictions.tolist()


def test_load_classifier_refuses_what_is_none(store):
    run_fit_head(FitHeadConfig(head="prototype", cache_dir="cold"))
    (extraction,) = find_runs({"stage": "extract"})
    with pytest.raises(InputError, match="a classifier must come from a FINISHED run of fit_head"):
        load_classifier(extraction.info.run_id)
    with pytest.raises(InputError, match="run_id must name a run of"):
        get_run("0" * 32)


def test_search_runs_refuses_what_mlflow_cannot_read(store):
    with pytest.raises(InputError, match=r"filter must be valid in MLflow, got 'tags.x >'"):
        search_runs("tags.x >")
