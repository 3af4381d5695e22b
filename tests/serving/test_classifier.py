"""Images to probabilities, and the folder a classifier is kept in."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.loading import normalize, resize_crop
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.serving.classifier import Classifier, Description, read_classifier, write_classifier

DESCRIPTION = Description("resnet18", ("red", "green", "blue"), 32, "fp32")


def encode(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def pixels(noisy_colours):
    """Nine images, three of each colour."""
    return noisy_colours(9)


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("resnet18", resolve_weights("resnet18", "random", 0))


@pytest.fixture(scope="module")
def features(backbone, pixels):
    """The images' features, one at a time and without anything of the classifier."""
    form = inference_form(backbone, "fp32")
    images = torch.stack([resize_crop(torch.from_numpy(image).permute(2, 0, 1), 32) for image in pixels])
    with torch.inference_mode():
        return form(normalize(images)).numpy()


@pytest.fixture(scope="module")
def head(features):
    return build_head("prototype", {}, seed=0).fit(features, np.arange(9) % 3)


@pytest.fixture(scope="module")
def classifier(backbone, head):
    return Classifier(DESCRIPTION, backbone, head)


def test_predict_proba_is_the_head_on_the_backbones_features(classifier, head, features, pixels):
    np.testing.assert_allclose(classifier.predict_proba(pixels), head.predict_proba(features), atol=1e-5)
    assert classifier.predict(pixels) == ["red", "green", "blue"] * 3


def test_predict_proba_is_the_same_for_pixels_files_and_their_content(classifier, pixels, tmp_path):
    content = [encode(image) for image in pixels]
    paths = [tmp_path / f"{i}.png" for i in range(len(content))]
    for path, data in zip(paths, content, strict=True):
        path.write_bytes(data)
    expected = classifier.predict_proba(pixels)
    np.testing.assert_array_equal(classifier.predict_proba(content), expected)
    np.testing.assert_array_equal(classifier.predict_proba(paths), expected)


def test_iterate_leaves_out_what_cannot_be_decoded(classifier, pixels):
    content = [encode(pixels[0]), b"no image", encode(pixels[2])]
    skipped = []
    blocks = list(classifier.iterate(content, on_skip=lambda row, error: skipped.append((row, error.reason))))
    assert [row for rows, _ in blocks for row in rows] == [0, 2]
    assert skipped == [(1, "not an image format that PIL knows")]
    with pytest.raises(BadImageError, match="row 1"):
        classifier.predict_proba(content)


def test_write_classifier_round_trips_without_pickle(classifier, backbone, head, pixels, tmp_path):
    write_classifier(tmp_path, DESCRIPTION, backbone, head)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backbone.safetensors",
        "classifier.json",
        "head.skops",
    ]
    with safe_open(tmp_path / "backbone.safetensors", "np") as tensors:
        assert "layer4.1.conv2.weight" in tensors.keys()  # noqa: SIM118 - no container
    names = zipfile.ZipFile(tmp_path / "head.skops").namelist()
    assert all(name.endswith((".json", ".npy")) for name in names), names
    loaded = read_classifier(tmp_path)
    assert loaded.description == DESCRIPTION
    np.testing.assert_array_equal(loaded.predict_proba(pixels), classifier.predict_proba(pixels))


def test_classifiers_prepare_images_in_their_own_way(backbone, head, pixels, tmp_path):
    own = Preprocessing(40, 32, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    description = replace(DESCRIPTION, preprocessing=str(own))
    write_classifier(tmp_path, description, backbone, head)
    images = torch.stack([resize_crop(torch.from_numpy(image).permute(2, 0, 1), 32, own) for image in pixels])
    form = inference_form(backbone, DESCRIPTION.precision)
    with torch.inference_mode():
        expected = head.predict_proba(form(normalize(images, preprocessing=own)).numpy())
    np.testing.assert_allclose(read_classifier(tmp_path).predict_proba(pixels), expected, atol=1e-5)


def test_read_classifier_refuses_another_preprocessing(backbone, head, tmp_path):
    write_classifier(tmp_path, DESCRIPTION, backbone, head)
    file = tmp_path / "classifier.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"preprocessing": "centre-crop"}))
    with pytest.raises(InputError, match=r"preprocessing must be 'resize-crop.*got 'centre-crop'"):
        read_classifier(tmp_path)


def test_read_classifier_refuses_a_folder_without_one(tmp_path):
    with pytest.raises(InputError, match=r"must contain classifier\.json, got .*; pass a promoted model"):
        read_classifier(tmp_path)


class Foreign:
    """A type that is not this project's."""


def test_read_classifier_builds_no_foreign_types(backbone, tmp_path):
    write_classifier(tmp_path, DESCRIPTION, backbone, Foreign())
    with pytest.raises(InputError, match=r"own types, got .*Foreign"):
        read_classifier(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "resnet99"},
        {"backbone": ["resnet18"]},
        {"class_names": ["red"]},
        {"class_names": "red"},
        {"image_size": 10**9},
        {"image_size": "32x32"},
        {"precision": "fp8"},
        {"unknown": 1, "image_size": None},
    ],
)
def test_read_classifier_refuses_a_description_that_is_none(backbone, head, tmp_path, change):
    write_classifier(tmp_path, DESCRIPTION, backbone, head)
    file = tmp_path / "classifier.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError) as refused:
        read_classifier(tmp_path)
    assert "\n" not in str(refused.value)


def test_read_classifier_refuses_a_head_of_another_network(backbone, head, tmp_path):
    write_classifier(tmp_path, DESCRIPTION, backbone, head)
    file = tmp_path / "classifier.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"class_names": ["red", "green", "blue", "grey"]}))
    with pytest.raises(InputError, match=r"have 4 classes, got one with 512 and 3"):
        read_classifier(tmp_path)
