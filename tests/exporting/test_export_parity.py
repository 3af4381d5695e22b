"""How exports are compared with the classifier, what is refused, and what files say of images' sizes."""

import math

import numpy as np
import pytest
from PIL import Image

from benchmarks.images import picture
from resnet_mlflow.config import ExportConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.data.resizing import resize_crops
from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting.about import describe_resizing
from resnet_mlflow.exporting.forms import check_runtimes
from resnet_mlflow.exporting.parity import check, compare
from resnet_mlflow.registry.export_formats import ExportFormat
from resnet_mlflow.registry.preprocessing import IMAGENET, PLAIN, Preprocessing

LABELS = np.arange(400) % 2


def said(scores, answered=None):
    found = {"scores": np.stack([1 - scores, scores], axis=1), "label": (scores > 0.5).astype(np.int64)}
    return found if answered is None else found | {"answered": answered, "set": found["scores"] > 0.2}


def right_but(n_wrong):
    scores = np.where(LABELS == 1, 0.9, 0.1)
    scores[:n_wrong] = 1 - scores[:n_wrong]
    return said(scores)


def test_compare_counts_what_differs():
    answered = np.ones(400, dtype=bool)
    exact, form = said(np.where(LABELS == 1, 0.9, 0.1), answered), said(np.where(LABELS == 1, 0.87, 0.1), answered)
    form["label"][:4] = 1 - LABELS[:4]
    form["answered"] = np.arange(400) >= 8
    found = compare(form, exact, right_but(2), LABELS)
    assert (found.n_alike, found.agreement, found.accuracy) == (396, 0.99, 0.99)
    assert found.max_difference == pytest.approx(0.03)
    # Two of the four were wrong before.
    assert found.difference == pytest.approx(-0.005)
    assert found.interval[0] < -0.005 < found.interval[1]
    assert (found.answered_alike, found.sets_alike) == (0.98, 1.0)


def test_check_takes_rounding_of_the_exact_form_only():
    exact = right_but(3)
    near = {"scores": exact["scores"] + 9e-5, "label": exact["label"]}
    check(compare(near, exact, exact, LABELS), "onnx-fp32", "fp32", 0.02)
    far = {"scores": exact["scores"] + 2e-4, "label": exact["label"]}
    with pytest.raises(
        InputError,
        match=r"within 0.0001, got 400 of 400 predictions and scores up to 0.0002 apart; nothing was written",
    ):
        check(compare(far, exact, exact, LABELS), "onnx-fp32", "fp32", 0.02)
    check(compare(far, exact, exact, LABELS), "onnx-fp16", "fp16", 0.02)


def test_check_refuses_scores_that_are_no_numbers():
    exact = right_but(0)
    broken = {"scores": np.full_like(exact["scores"], np.nan), "label": exact["label"]}
    with pytest.raises(InputError, match=r"scores up to nan apart"):
        check(compare(broken, exact, exact, LABELS), "onnx-fp32", "fp32", 0.02)


def test_check_refuses_the_exact_form_where_its_rules_answer_otherwise():
    answered = np.arange(400) % 3 > 0
    exact = said(np.where(LABELS == 1, 0.9, 0.1), answered)
    one_other = exact | {"answered": np.where(np.arange(400) == 7, ~answered, answered)}
    check(compare(one_other, exact, exact, LABELS), "onnx-fp32", "fp32", 0.02)
    with pytest.raises(InputError, match=r"apart, 0.6650 alike in being answered, 1.0000 in sets; nothing was written"):
        check(compare(exact | {"answered": answered[::-1] | True}, exact, exact, LABELS), "onnx-fp32", "fp32", 0.02)


def test_check_refuses_a_loss_beyond_the_margin_with_its_interval():
    own = right_but(0)
    found = compare(right_but(8), own, own, LABELS)
    low, high = found.interval
    text = rf"lose at most margin=0.02 of accuracy, got -0.0200 \(95 % interval {low:+.4f} to {high:+.4f}\) on 400 test"
    with pytest.raises(InputError, match=text.replace("+", r"\+")):
        check(found, "onnx-int8", "int8", 0.02)
    check(found, "onnx-int8", "int8", 0.05)


def test_check_says_how_many_images_show_a_margin():
    own = {key: values[:100] for key, values in right_but(0).items()}
    with pytest.raises(InputError, match=r"on 100 test images \(even without a loss, 189 would be needed\)"):
        check(compare(own, own, own, LABELS[:100]), "onnx-int8", "int8", 0.02)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"format": "onx"}, r"format must be one of onnx, openvino, got 'onx'; did you mean 'onnx'\?"),
        ({"format": ","}, r"format must be one of onnx, openvino, got ''"),
        ({"precision": "fp32,fp8"}, r"precision must be one of fp32, fp16, int8, bf16, got 'fp8'; did you mean 'fp"),
        (
            {"format": "openvino,onnx", "precision": "bf16"},
            r"precision of format onnx must be one of fp32, fp16, int8, got 'bf16' \(on processors ONNX Runtime has no",
        ),
        ({"margin": "0"}, r"margin must be greater than 0.0, got '0'"),
    ],
)
def test_export_config_refuses_forms_that_there_are_not(given, text):
    with pytest.raises(InputError, match=text):
        validate(ExportConfig, given)


def test_export_config_crosses_formats_and_precisions_without_repeats():
    forms = ExportConfig(format="onnx, openvino,onnx", precision="fp32,int8").forms
    assert [(row.name, precision) for row, precision in forms] == [
        *(("onnx", "fp32"), ("onnx", "int8")),
        *(("openvino", "fp32"), ("openvino", "int8")),
    ]


def test_check_runtimes_names_the_extra():
    row = ExportFormat("openvino", "X", ("fp32",), ("onnx", "no_such_runtime"), "", "")
    with pytest.raises(InputError, match=r"got no no_such_runtime; pip install 'resnet-mlflow\[openvino\]'"):
        check_runtimes([row])


@pytest.mark.parametrize(
    "preprocessing", [PLAIN, IMAGENET, Preprocessing(resize=232, interpolation="bicubic")], ids=str
)
@pytest.mark.parametrize("size", [224, 64])
def test_describe_resizing_says_what_the_project_does(preprocessing, size):
    how = describe_resizing(preprocessing, size)
    for shorter in (30, 64, 65, 72, 73, 74, 75, 223, 224, 256, 300):
        assert (how["to"] if shorter >= how["from"] else size) == preprocessing.shorter_side(size, shorter)
    # What docs/deploy.md does with Pillow, on pictures of all kinds of sizes.
    for height, width in ((375, 500), (500, 375), (62, 81), (300, 303), (90, 75), (20, 31)):
        pixels = picture(np.random.default_rng(height), width, height)
        ours = resize_crops(pixels[None], size, preprocessing)[0]
        assert np.abs(ours.astype(int) - resized_by_pillow(pixels, size, how)).max() <= 2


def resized_by_pillow(pixels, size, how):
    image = Image.fromarray(pixels)
    side = how["to"] if min(image.size) >= how["from"] else size
    sides = [max(size, length * side // min(image.size)) for length in image.size]
    image = image.resize(sides, Image.Resampling[how["interpolation"].upper()])
    left, top = ({"floor": math.floor, "half to even": round}[how["margins"]]((side - size) / 2) for side in sides)
    return np.asarray(image.crop((left, top, left + size, top + size)))
