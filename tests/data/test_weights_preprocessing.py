"""Pixels as torchvision's transforms of the same weights make them."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as reference

from resnet_mlflow.data.loading import normalize
from resnet_mlflow.data.resizing import resize_crop
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import IMAGENET, PLAIN, Preprocessing, changed

# Every pair of rules in the rows.
RULES = sorted(
    {row.preprocessing.get(name, IMAGENET) for row in BACKBONES.values() for name in row.weights},
    key=lambda r: r.resize,
)
DRAW = np.random.default_rng(0)
SIZES = [
    (427, 640), (640, 427), (224, 224), (225, 224), (256, 256), (232, 233), (300, 500), (32, 32), (8, 8), (1, 1),
    (1, 3), (100, 81), (231, 500), (255, 255), (375, 500), (1, 300), (400, 2), (60, 1800), (480, 2200), (1100, 900),
    *[tuple(int(side) for side in DRAW.integers(20, 700, 2)) for _ in range(180)],
]  # fmt: skip


def photo(height: int, width: int) -> np.ndarray:
    """Return smooth structure with noise on it: a shift of one pixel shows."""
    rng = np.random.default_rng(height * 10_000 + width)
    coarse = rng.integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int64)
    return np.clip(smooth + rng.integers(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)


def levels_apart(image: np.ndarray, rule: Preprocessing, size: int, expected: Tensor) -> int:
    ours = resize_crop(torch.from_numpy(image).permute(2, 0, 1), size, rule)
    return int((ours.int() - expected.int()).abs().max())


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_pixels_are_torchvisions_on_every_size(rule: Preprocessing) -> None:
    for height, width in SIZES:
        image = photo(height, width)
        expected = reference.pil_to_tensor(
            reference.center_crop(reference.resize(Image.fromarray(image), [rule.resize]), [224])
        )
        assert levels_apart(image, rule, 224, expected) <= 1, (height, width)


@pytest.mark.parametrize("size", [(427, 640), (100, 81), (375, 500), (60, 1800)])
def test_pixels_are_torchvisions_with_bicubic_interpolation_too(size: tuple[int, int]) -> None:
    image = photo(*size)
    resized = reference.resize(Image.fromarray(image), [256], reference.InterpolationMode.BICUBIC)
    expected = reference.pil_to_tensor(reference.center_crop(resized, [224]))
    assert levels_apart(image, Preprocessing(256, interpolation="bicubic"), 224, expected) <= 1


@pytest.mark.parametrize("name", BACKBONES)
def test_rows_say_what_torchvision_says_of_its_weights(name: str) -> None:
    for weights in torchvision.models.get_model_weights(name):
        theirs = weights.transforms()
        rule = BACKBONES[name].preprocessing.get(weights.name, IMAGENET)
        assert [rule.resize] == theirs.resize_size
        assert [rule.crop] == theirs.crop_size
        assert rule.interpolation == theirs.interpolation.value
        assert (list(rule.mean), list(rule.std)) == (theirs.mean, theirs.std)


def test_the_whole_transform_of_weights_is_torchvisions() -> None:
    image = photo(427, 640)
    expected = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms()(Image.fromarray(image))
    rule = BACKBONES["resnet50"].preprocessing["IMAGENET1K_V2"]
    ours = resize_crop(torch.from_numpy(image).permute(2, 0, 1), 224, rule)
    torch.testing.assert_close(normalize(ours[None], preprocessing=rule)[0], expected, rtol=0, atol=1.01 / 255 / 0.224)


def test_other_inputs_scale_the_rule_and_spare_small_images() -> None:
    rule = Preprocessing(resize=232)
    assert [rule.shorter_side(*pair) for pair in ((224, 10), (448, 500), (448, 463), (64, 32))] == [232, 464, 448, 64]
    assert [PLAIN.shorter_side(*pair) for pair in ((224, 500), (224, 255), (32, 8))] == [256, 224, 32]


def test_normalize_takes_the_weights_own_numbers() -> None:
    images = torch.from_numpy(photo(8, 8)).permute(2, 0, 1)[None]
    rule = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.125))
    expected = reference.normalize(images / 255, list(rule.mean), list(rule.std))
    torch.testing.assert_close(normalize(images, preprocessing=rule), expected)


@pytest.mark.parametrize(
    "rule",
    [
        PLAIN,
        IMAGENET,
        Preprocessing(interpolation="bicubic"),
        Preprocessing(300, 256, "bicubic", (-0.1, 1e-7, 1 / 3), (1e-3, 2, 7)),
    ],
)
def test_preprocessing_is_read_back_from_its_text(rule: Preprocessing) -> None:
    assert Preprocessing.read(str(rule)) == rule


def test_the_plain_rule_has_the_name_of_version_0_1_0() -> None:
    assert str(PLAIN) == "resize-crop-7/8-antialias-imagenet"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resize": 200}, "resize must be at least the side of the input, 224 pixels, got 200"),
        ({"mean": "0.5"}, r"mean must be three numbers such as 0.485,0.456,0.406, got \['0.5'\]"),
        ({"mean": "a,b,c"}, "mean must be three numbers"),
        ({"mean": "nan,0,0"}, "mean must be finite"),
        ({"std": "0,1,1"}, "std greater than 0"),
        ({"std": "inf,1,1"}, "std greater than 0"),
        ({"interpolation": "nearest"}, "interpolation must be one of bilinear, bicubic, got 'nearest'"),
    ],
)
def test_changed_refuses_in_one_line(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        changed(IMAGENET, 224, **{"resize": 0, "interpolation": "auto", "mean": "", "std": ""} | given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "centre-crop", "resize-232/224-bilinear-mean-1-std-1", "resize-1/224-bilinear-mean-0,0,0-std-1,1,1"]
)
def test_preprocessing_refuses_other_texts(text: str) -> None:
    with pytest.raises(InputError):
        Preprocessing.read(text)
