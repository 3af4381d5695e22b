from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from resnet_mlflow.backbones.networks import build_backbone, save_backbone, state_digest, without_numbers
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.devices import pick_precision
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.backbones import BACKBONES

SEED_0 = ResolvedWeights("random-seed0", "random-seed0", seed=0)


def from_file(path: Path) -> ResolvedWeights:
    return ResolvedWeights("file:0", "0", path=path)


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return build_backbone("resnet18", SEED_0)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_build_backbone_gives_features(name: str, images: torch.Tensor) -> None:
    with torch.inference_mode():
        assert build_backbone(name, SEED_0).eval()(images[:1]).shape == (1, BACKBONES[name].n_features)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_build_backbone_is_torchvisions_network(name: str, images: torch.Tensor) -> None:
    actual = build_backbone(name, SEED_0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        expected = torchvision.models.get_model(name, weights=None)
    expected.fc = nn.Identity()
    assert list(actual.state_dict()) == list(expected.state_dict())
    assert all(torch.equal(tensor, expected.state_dict()[key]) for key, tensor in actual.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(actual(images), expected(images))
        assert torch.equal(actual.eval()(images), expected.eval()(images))


@pytest.mark.parametrize("name", [name for name, row in BACKBONES.items() if not row.builder])
def test_networks_have_torchvisions_layers(name: str) -> None:
    with torch.device("meta"):
        expected = torchvision.models.get_model(name, weights=None)
    expected.fc = nn.Identity()
    assert repr(without_numbers(name)).replace("(output_size=1)", "(output_size=(1, 1))") == repr(expected)


def test_build_backbone_leaves_the_random_state_alone(resnet18: nn.Module) -> None:
    torch.rand(3)
    before = torch.get_rng_state()
    again = build_backbone("resnet18", SEED_0)
    assert torch.equal(torch.get_rng_state(), before)
    assert state_digest(again.state_dict()) == state_digest(resnet18.state_dict())


def with_head(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        with_head,
        lambda state: {"state_dict": with_head(state), "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": tensor for key, tensor in with_head(state).items()},
        lambda state: {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key},
    ],
    ids=["bare", "with fc", "checkpoint", "model", "module.", "nested module.", "without counters"],
)
def test_build_backbone_takes_the_files_people_have(
    wrap: Callable[[Any], Any], resnet18: nn.Module, tmp_path: Path
) -> None:
    torch.save(wrap(resnet18.state_dict()), tmp_path / "mine.pth")
    loaded = build_backbone("resnet18", from_file(tmp_path / "mine.pth"))
    assert state_digest(loaded.state_dict()) == state_digest(resnet18.state_dict())


def test_save_backbone_comes_back_equal(tmp_path: Path) -> None:
    lived_in = build_backbone("resnet18", ResolvedWeights("random-seed1", "random-seed1", seed=1))
    lived_in.get_buffer("bn1.running_mean").fill_(0.5)
    save_backbone(lived_in, tmp_path / "backbone.safetensors")
    loaded = build_backbone("resnet18", from_file(tmp_path / "backbone.safetensors"))
    assert state_digest(loaded.state_dict()) == state_digest(lived_in.state_dict())
    assert [file.name for file in tmp_path.iterdir()] == ["backbone.safetensors"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_build_backbone_names_a_truncated_file(suffix: str, resnet18: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"half{suffix}"
    save = torch.save if suffix == ".pth" else save_file
    save(resnet18.state_dict(), path)
    truncate(path)
    with pytest.raises(InputError, match=rf"a weights file must be complete, got .*half{suffix} \(.*may be truncated"):
        build_backbone("resnet18", from_file(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a weights file must be complete"),
        (b"not a pickle at all", "a weights file must"),
    ],
)
def test_build_backbone_refuses_a_file_of_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        build_backbone("resnet18", from_file(tmp_path / "mine.pth"))
    assert "\n" not in str(caught.value)


def test_build_backbone_loads_no_pickled_objects(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(InputError, match="must contain only tensors, got other objects") as caught:
        build_backbone("resnet18", from_file(tmp_path / "model.pth"))
    assert "\n" not in str(caught.value)


def test_build_backbone_refuses_a_list(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"must contain named tensors, got something else in .*list.pth"):
        build_backbone("resnet18", from_file(tmp_path / "list.pth"))


def test_build_backbone_guesses_the_real_architecture(resnet18: nn.Module, tmp_path: Path) -> None:
    save_backbone(resnet18, tmp_path / "small.safetensors")
    with pytest.raises(InputError, match=r"must be those of resnet50, got .*: those of resnet18; pass backbone=resne"):
        build_backbone("resnet50", from_file(tmp_path / "small.safetensors"))


def test_build_backbone_names_what_differs(resnet18: nn.Module, tmp_path: Path) -> None:
    state = dict(resnet18.state_dict())
    del state["bn1.bias"]
    save_file(state | {"extra": torch.zeros(1), "conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(
        InputError,
        match=r"missing bn1.bias, unexpected extra, shape conv1.weight is \(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)",
    ):
        build_backbone("resnet18", from_file(tmp_path / "odd.safetensors"))


def test_build_backbone_refuses_weights_that_are_no_numbers(resnet18: nn.Module, tmp_path: Path) -> None:
    state = resnet18.state_dict() | {"layer1.0.bn1.bias": torch.full((64,), torch.nan)}
    save_file(state, tmp_path / "diverged.safetensors")
    with pytest.raises(InputError, match=r"must be finite numbers, got NaN or infinity in layer1.0.bn1.bias"):
        build_backbone("resnet18", from_file(tmp_path / "diverged.safetensors"))


def test_save_backbone_leaves_fc_out(tmp_path: Path) -> None:
    save_backbone(torchvision.models.resnet18(weights=None), tmp_path / "backbone.safetensors")
    assert not [key for key in load_file(tmp_path / "backbone.safetensors") if key.startswith("fc.")]


def test_state_digest_sees_one_number(resnet18: nn.Module) -> None:
    state = {key: tensor.clone() for key, tensor in resnet18.state_dict().items()}
    before = state_digest(state)
    state["conv1.weight"][0, 0, 0, 0] += 1e-6
    assert state_digest(state) != before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pick_precision_takes_what_is_asked(precision: str) -> None:
    assert pick_precision(precision, "cpu") == precision
