import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from resnet_mlflow.backbones import weights as weights_module
from resnet_mlflow.backbones.compilation import repays_compiling
from resnet_mlflow.backbones.complexity import backbone_complexity, is_countable
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone, save_backbone
from resnet_mlflow.backbones.timm_family import timm_row
from resnet_mlflow.backbones.weights import ResolvedWeights, checkpoint_folder, default_name, resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.grad_cam import grad_cam
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.training.finetuning import FinetuneNetwork, build_linear

timm = pytest.importorskip("timm")

# Of every form of block, stem and pooling that timm's ResNets have.
NAMES = [
    "resnet26d", "resnet14t", "resnet10t", "seresnet18", "ecaresnet26t", "ecaresnext26t_32x4d", "resnetblur18",
    "resnetaa34d", "resnet50_gn", "resnext50d_32x4d", "skresnet18", "resnest14d", "res2net50_14w_8s",
    "legacy_seresnet18", "resnetv2_18", "resnetv2_18d", "resnetrs50",
]  # fmt: skip
AS_THEY_ARE = {"resnetv2_18", "resnetv2_18d", "legacy_seresnet18"}


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))


def lived_in(name: str) -> torch.nn.Module:
    """Return a network whose BatchNorm has statistics of its own."""
    network = build_backbone(f"timm:{name}", ResolvedWeights("", "", seed=0)).eval()
    generator = torch.Generator().manual_seed(1)
    for key, buffer in network.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + (0.5 if key.endswith("var") else -0.5))
    return network


@pytest.mark.parametrize("name", NAMES)
def test_inference_form_gives_the_networks_own_features(name: str) -> None:
    network = lived_in(name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
        features = inference_form(network, "fp32")(images)
        rough = inference_form(network, "bf16")(images)
    scale = expected.abs().max()
    assert features.shape == (2, BACKBONES[f"timm:{name}"].n_features)
    assert (features - expected).abs().max() < 1e-4 * scale
    assert (rough - expected).abs().max() < 0.1 * scale
    assert features.dtype == rough.dtype == torch.float32


def n_norms(network: torch.nn.Module) -> int:
    return sum(type(module) is torch.nn.BatchNorm2d for module in network.modules())


@pytest.mark.parametrize("name", ["resnet26d", "seresnet18", "res2net50_14w_8s", "resnetv2_18", "legacy_seresnet18"])
def test_inference_form_folds_where_the_form_is_known(name: str) -> None:
    network = lived_in(name)
    left = n_norms(inference_form(network, "fp32"))
    assert left == n_norms(network) if name in AS_THEY_ARE else left < n_norms(network)


@pytest.mark.parametrize("name", ["resnet26d", "resnetv2_18", "resnetblur18"])
def test_a_saved_backbone_comes_back_equal(name: str, tmp_path: Path) -> None:
    network = lived_in(name)
    save_backbone(network, tmp_path / "backbone.safetensors")
    resolved = resolve_weights(f"timm:{name}", str(tmp_path / "backbone.safetensors"), 0)
    before = torch.get_rng_state()
    again = build_backbone(f"timm:{name}", resolved)
    assert torch.equal(torch.get_rng_state(), before)
    # Buffers too that no file holds, as the filter of a blurred pooling.
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    read = dict(again.named_parameters()) | dict(again.named_buffers())
    assert all(torch.equal(tensor, read[key]) for key, tensor in own.items())


@pytest.mark.parametrize("name", ["resnet26d", "resnetv2_18", "ecaresnet26t"])
def test_complexity_is_timms_own(name: str) -> None:
    found = backbone_complexity(f"timm:{name}", 64)
    network = timm.create_model(name, num_classes=0)
    assert found.n_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert found.n_features == network.num_features
    assert found.macs > 1e8
    assert repays_compiling(f"timm:{name}", 224, 10**7, "bf16", 1)


def test_complexity_of_a_plain_network_agrees_with_the_count_by_structure() -> None:
    assert backbone_complexity("timm:resnet18", 64) == backbone_complexity("resnet18", 64)


def test_timm_resnet18_and_torchvisions_take_the_same_file(tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet18", ResolvedWeights("", "", seed=0)), tmp_path / "mine.safetensors")
    resolved = resolve_weights("timm:resnet18", str(tmp_path / "mine.safetensors"), 0)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        ours, theirs = (build_backbone(name, resolved).eval()(images) for name in ("resnet18", "timm:resnet18"))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "timm:resnet50dd",
            r"backbone must be timm:NAME with a ResNet of timm .*, got 'resnet50dd'; did you mean 'timm:resnet50d'\?",
        ),
        ("timm:vit_base_patch16_224", "got 'vit_base_patch16_224', which is of another kind"),
    ],
)
def test_timm_row_refuses_other_names_in_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        timm_row(name)
    assert "\n" not in str(caught.value)
    assert not is_countable(name)


def test_timm_row_without_timm_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    timm_row.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs timm, which is not installed .*; pip install 'resnet-mlflow\[timm\]'"):
        BACKBONES.find("timm:resnet50d")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("resnet81", "backbone must be one of 'resnet18', .* or 'timm:NAME', got 'resnet81'; did you mean 'resnet18'"),
        ("timm:", "backbone must be one of .*, got 'timm:'"),
        ("resnext50_4x32d", "did you mean 'resnext50_32x4d'"),
    ],
)
def test_backbone_parameter_refuses_in_one_line(value: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        validate(FeatureConfig, {"backbone": value})
    assert "\n" not in str(caught.value)


def test_backbone_parameter_takes_timms_names() -> None:
    assert validate(FeatureConfig, {"backbone": "timm:resnet50d"}).backbone == "timm:resnet50d"


def test_default_weights_are_timms_own() -> None:
    for name in ("resnet50", "resnet50d", "resnetv2_50", "seresnet50"):
        assert default_name(f"timm:{name}") == timm.get_pretrained_cfg(name).tag


def test_published_weights_are_fetched_once_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "timm:resnetv2_18"
    own = {key: tensor.contiguous() for key, tensor in lived_in("resnetv2_18").state_dict().items()}
    row = timm_row(name)
    tag = default_name(name)
    (tmp_path / "far").mkdir()
    save_file(own, tmp_path / "far" / "model.safetensors")
    address = (tmp_path / "far" / "model.safetensors").as_uri()
    monkeypatch.setitem(row.addresses, row.weights[tag], address)

    resolved = resolve_weights(name, "imagenet", 0)

    assert resolved.label == f"timm/resnetv2_18.{tag}"
    assert [file.name for file in checkpoint_folder().iterdir()] == [row.weights[tag]]
    loaded = build_backbone(name, resolved).state_dict()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in own.items())
    assert resolve_weights(name, resolved.label, 0) == resolve_weights(name, tag, 0) == resolved


def test_a_download_that_ends_early_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "far").write_bytes(b"half")

    def cut(url: str, seconds: float):
        response = open(tmp_path / "far", "rb")  # noqa: PTH123, SIM115
        wrapped = type("Response", (), {"headers": {"Content-Length": "8"}, "read": response.read})()
        wrapped.__class__.__enter__ = lambda self: self
        wrapped.__class__.__exit__ = lambda *_: response.close()
        return wrapped

    monkeypatch.setattr(weights_module, "_open_within", cut)
    with pytest.raises(OSError, match="damaged download"):
        weights_module._fetch("http://x", tmp_path / "kept" / "model", "")
    assert list((tmp_path / "kept").iterdir()) == []


def test_networks_without_published_weights_fall_back_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    resolved = resolve_weights("timm:skresnet50", "auto", 0)
    assert resolved.fell_back
    assert resolved.digest.startswith("random-standardized-seed0-torch2.")
    assert "-timm1." in resolved.digest
    with pytest.raises(
        InputError, match="weights of timm:skresnet50 must be random or a file, because none are published"
    ):
        resolve_weights("timm:skresnet50", "imagenet", 0)


@pytest.mark.parametrize("name", NAMES)
def test_standardized_random_weights_tell_images_apart(name: str) -> None:
    network = build_backbone(f"timm:{name}", resolve_weights(f"timm:{name}", "random", 0)).eval()
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = network(images)
    spread = (features - features.mean(0)).norm() / features.norm()
    assert 0.02 < spread < 1
    assert 0.05 < features.square().mean().sqrt() < 20


@pytest.mark.parametrize("train_layers", ["fc", "layer4", "layer3+", "all"])
def test_fine_tuning_trains_the_stages_of_timms_resnets(train_layers: str) -> None:
    network = FinetuneNetwork(lived_in("resnet26d"), build_linear(2048, 3, seed=0), train_layers)
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    trained = {name.split(".")[0] for name, p in network.backbone.named_parameters() if p.grad is not None}
    stages = {"fc": set(), "layer4": {"layer4"}, "layer3+": {"layer3", "layer4"}}
    assert trained == stages.get(train_layers, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"})


def test_fine_tuning_refuses_stages_that_a_network_has_not() -> None:
    FinetuneNetwork(lived_in("resnetv2_18"), build_linear(512, 3, seed=0), "all")
    with pytest.raises(InputError, match="train_layers must be fc or all for a ResNetV2 without layer4, got layer4"):
        FinetuneNetwork(lived_in("resnetv2_18"), build_linear(512, 3, seed=0), "layer4")


@pytest.mark.parametrize("name", ["resnet26d", "resnetv2_18", "legacy_seresnet18"])
def test_grad_cam_explains_timms_networks(name: str) -> None:
    network = lived_in(name)
    linear = build_linear(BACKBONES[f"timm:{name}"].n_features, 3, seed=0)
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = grad_cam(network, linear, images, [0, 1, 2, 0, 1, 2], "layer3")
    assert maps.shape == (6, 64, 64)
    assert maps.max() == pytest.approx(1)
