"""A classifier's rules: kept in its folder, refused where they are damaged, and what they make of images."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.serving.classifier import Classifier, Description, read_classifier, write_classifier
from resnet_mlflow.serving.model import ServedClassifier
from resnet_mlflow.uncertainty.answering import AnswerRule
from resnet_mlflow.uncertainty.conformal import SetRule
from resnet_mlflow.uncertainty.pictures import fit_limits, measure_light
from resnet_mlflow.uncertainty.rules import Rules
from resnet_mlflow.uncertainty.unlike import fit_score, fit_unlike, score_images

DESCRIPTION = Description("resnet18", ("red", "green", "blue"), 32, "fp32")


@pytest.fixture(scope="module")
def pixels(noisy_colours):
    """Thirty images, ten of each colour."""
    return noisy_colours(30)


@pytest.fixture(scope="module")
def parts(pixels):
    """Backbone, head and rules that know the images."""
    backbone = build_backbone("resnet18", resolve_weights("resnet18", "random", 0))
    bare = Classifier(DESCRIPTION, backbone, build_head("prototype", {}, 0).fit(np.eye(3, 512), [0, 1, 2]), "cpu")
    features = np.concatenate([block for _, block in bare.features(pixels)])
    labels = np.arange(30) % 3
    head = build_head("linear", {}, 0).fit(features, labels)
    arrays = fit_score("knn", features, labels)
    unlike = fit_unlike("knn", score_images("knn", arrays, features, head.logits(features)), 1.0)
    rules = Rules(
        "cross_fit",
        SetRule(0.9, "group", 0.4, by_group={"hard": 0.0}),
        AnswerRule(0.05, 0.98, 0.5, 30, 30, 0),
        replace(unlike, threshold=1.2 * unlike.threshold),
        limits=fit_limits(measure_light(pixels)),
        arrays=arrays,
    )
    return backbone, head, rules


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier")
    write_classifier(path, DESCRIPTION, parts[0], parts[1], parts[2])
    return path


def answers_to(folder, images, **table):
    return ServedClassifier(read_classifier(folder, "cpu")).predict(images, **table)


def test_answers_carry_set_answered_and_reason(folder, pixels):
    dark, noise = pixels[:1] // 16, np.random.default_rng(1).integers(0, 256, (1, 40, 48, 3), dtype=np.uint8)
    answers = answers_to(folder, np.concatenate([pixels[:3], dark, 255 - dark, noise]))
    assert answers.columns.tolist() == ["label", "probability", "scores", "set", "answered", "reason"]
    assert answers["label"].tolist()[:3] == ["red", "green", "blue"]
    assert answers["answered"].tolist() == [True, True, True, False, False, False]
    assert answers["reason"].tolist()[:5] == ["", "", "", "too dark", "too bright"]
    assert answers["reason"][5] in ("unlike training images", "too bright", "too dark", "too little contrast")
    assert answers["set"].tolist()[:3] == [["red"], ["green"], ["blue"]]


def test_an_unsure_answer_is_none(parts, pixels):
    backbone, head, rules = parts
    unsure = replace(rules, answering=replace(rules.answering, threshold=1.1), limits={})
    answers = ServedClassifier(Classifier(DESCRIPTION, backbone, head, "cpu", unsure)).predict(pixels[:2])
    assert answers["reason"].tolist() == ["uncertain", "uncertain"]
    assert answers["label"].tolist() == ["red", "green"], "the label stands beside"


def test_sets_per_group_follow_the_request(folder, pixels):
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    table = pd.DataFrame({"image": [base64.b64encode(file.getvalue()).decode()] * 2, "group": ["hard", "new"]})
    assert answers_to(folder, table)["set"].tolist() == [["red", "green", "blue"], ["red"]]


def test_rules_come_back_from_the_folder(folder, parts):
    rules, back = parts[2], read_classifier(folder, "cpu").rules
    assert back.arrays.keys() == rules.arrays.keys()
    np.testing.assert_array_equal(back.arrays["bank"], rules.arrays["bank"])
    assert replace(back, arrays={}) == replace(rules, arrays={})


@pytest.mark.parametrize(
    "change",
    [
        {"source": "somewhere"},
        {"sets": {"coverage": 2, "per": "all", "least": 0.1}},
        {"unlike": {"score": "nothing", "keep": 0.95, "threshold": 1}},
        {"unlike": {"score": "mahalanobis", "keep": 0.95, "threshold": 1}},
        {"costs": [[0, 1], [1, 0]]},
        {"answering": {"threshold": 0.5}},
        {"limits": {"too dark": "very"}},
    ],
)
def test_damaged_rules_are_refused(parts, tmp_path, change):
    write_classifier(tmp_path, DESCRIPTION, parts[0], parts[1], parts[2])
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(
        InputError,
        match=r"must contain rules\.json and rules\.safetensors, undamaged, got .*; "
        "promote",
    ) as one:
        read_classifier(tmp_path, "cpu")
    assert "\n" not in str(one.value)


@pytest.mark.parametrize("name", ["rules.json", "rules.safetensors"])
def test_half_written_rules_are_refused(parts, tmp_path, name):
    write_classifier(tmp_path, DESCRIPTION, parts[0], parts[1], parts[2])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(InputError, match="must contain rules"):
        read_classifier(tmp_path, "cpu")
    (tmp_path / "rules.safetensors").unlink()
    with pytest.raises(InputError, match="must contain rules"):
        read_classifier(tmp_path, "cpu")
