import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_mlflow.backbones.networks import build_backbone, save_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import features_key, identify
from resnet_mlflow.registry.preprocessing import IMAGENET, PLAIN, Preprocessing

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def used_to(path: Path) -> Preprocessing:
    resolved = resolve_weights("resnet18", str(path), 0)
    assert not resolved.preprocessing_problem
    return resolved.preprocessing


def test_a_file_without_notes_is_used_to_the_plain_way(weights: Path) -> None:
    assert used_to(weights) == PLAIN


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"crop_pct": 0.875, "resample": 3, "size": 224, "image_mean": [0.485, 0.456, 0.406], "image_std": HALF},
            Preprocessing(256, 224, "bicubic", std=HALF),
        ),
        (
            {"size": {"shortest_edge": 232}, "crop_size": {"height": 224, "width": 224}, "resample": 2},
            Preprocessing(232),
        ),
        ({"size": {"shortest_edge": 160}, "crop_pct": 0.9, "resample": 2}, Preprocessing(177, 160)),
    ],
)
def test_hugging_faces_file_beside_the_weights_is_read(content: dict[str, Any], expected: Any, weights: Path) -> None:
    weights.with_name("preprocessor_config.json").write_text(json.dumps(content))
    assert used_to(weights) == expected


@pytest.mark.parametrize("nested", [True, False])
def test_timms_file_beside_the_weights_is_read(nested: bool, weights: Path) -> None:
    own = {"crop_pct": 0.95, "input_size": [3, 224, 224], "interpolation": "bicubic", "mean": HALF, "std": HALF}
    content = {"architecture": "resnet50d"} | ({"pretrained_cfg": own} if nested else own)
    weights.with_name("config.json").write_text(json.dumps(content))
    assert used_to(weights) == Preprocessing(235, 224, "bicubic", HALF, HALF)


def test_a_config_of_something_else_is_no_note(weights: Path) -> None:
    weights.with_name("config.json").write_text('{"architectures": ["ResNetForImageClassification"], "mean": 3}')
    assert used_to(weights) == PLAIN


def test_timms_own_arguments_in_a_checkpoint_are_read(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        model="resnet50", crop_pct=0.9, mean=None, std=[0.5] * 3, interpolation="", img_size=192
    )
    torch.save({"state_dict": {}, "args": arguments}, tmp_path / "model_best.pth.tar")
    assert used_to(tmp_path / "model_best.pth.tar") == Preprocessing(213, 192, std=HALF)


def test_arguments_that_say_nothing_of_images_are_no_note(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(crop_pct=None, mean=None, img_size=None)}, tmp_path / "last.pth.tar")
    assert used_to(tmp_path / "last.pth.tar") == PLAIN


def test_the_projects_own_files_carry_their_preprocessing(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", ResolvedWeights("", "", seed=0))
    for name, rule in (("own", Preprocessing(232, interpolation="bicubic")), ("plain", PLAIN)):
        save_backbone(backbone, tmp_path / f"{name}.safetensors", rule)
        assert used_to(tmp_path / f"{name}.safetensors") == rule
    build_backbone("resnet18", resolve_weights("resnet18", str(tmp_path / "own.safetensors"), 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"size": {"height": 224, "width": 224}},
            "images must keep their aspect ratio, with a side of 1 to 8192 pixels, got",
        ),
        ({"size": 384, "crop_pct": 0.9}, "got size 384, to which they would be stretched"),
        (
            {"size": 256, "crop_size": 224, "resample": 1},
            "interpolation must be one of bilinear, bicubic, got 'lanczos'",
        ),
        ({"size": 224, "crop_pct": 9}, "crop_pct must be a fraction from 0.1 to 1, got 9"),
        ({"size": 256, "crop_size": 224, "image_mean": [1]}, "image_mean must be three numbers"),
    ],
)
def test_notes_that_cannot_be_followed_are_told_unless_given(content: Any, message: str, weights: Path) -> None:
    weights.with_name("preprocessor_config.json").write_text(json.dumps(content))
    resolved = resolve_weights("resnet18", str(weights), 0)
    digits = load_dataset("digits", data_dir=Path())
    with pytest.raises(InputError, match=message) as caught:
        identify(digits, FeatureConfig(device="cpu"), resolved)
    assert str(caught.value).endswith("preprocessor_config.json; pass resize, interpolation, mean and std")
    given = FeatureConfig(device="cpu", resize=40, image_size=32)
    assert identify(digits, given, resolved).preprocessing == str(Preprocessing(40, 32))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"size": true}'])
def test_broken_notes_end_in_no_traceback(text: str, weights: Path) -> None:
    weights.with_name("preprocessor_config.json").write_text(text)
    weights.with_name("config.json").write_text(text)
    resolve_weights("resnet18", str(weights), 0)


def test_preprocessing_is_part_of_the_key_and_plain_keys_stay() -> None:
    digits = load_dataset("digits", data_dir=Path())
    random = resolve_weights("resnet18", "random", 0)

    def key(**changes: Any) -> str:
        return features_key(identify(digits, FeatureConfig(device="cpu", precision="fp32", **changes), random))

    assert identify(digits, FeatureConfig(device="cpu"), random).preprocessing == str(PLAIN)
    others = [key(resize=36), key(interpolation="bicubic"), key(mean="0.5,0.5,0.5"), key(std="0.5,0.5,0.5")]
    assert len({key(), *others}) == 5


def test_published_weights_bring_their_preprocessing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.backbones.test_weights import cached_weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    cached_weights(monkeypatch, b"the numbers")
    assert resolve_weights("resnet18", "imagenet", 0).preprocessing == IMAGENET
