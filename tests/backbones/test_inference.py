import pytest
import torch
import torchvision
from torch import nn

from resnet_mlflow.backbones import inference, inference_layers
from resnet_mlflow.backbones.inference import fold_batchnorm, inference_form
from resnet_mlflow.backbones.inference_layers import (
    BitReLU,
    BitReLUMaxPool,
    PackedBlock,
    PackedConv,
    SmallMapConv,
    can_pack,
    product_matrix,
)
from resnet_mlflow.backbones.networks import build_backbone, state_digest
from resnet_mlflow.backbones.weights import ResolvedWeights

SEED_0 = ResolvedWeights("random-seed0", "random-seed0", seed=0)


@pytest.fixture(scope="module")
def lived_in() -> nn.Module:
    """A resnet18 whose BatchNorm has statistics of its own, as after training."""
    backbone = build_backbone("resnet18", ResolvedWeights("random-seed1", "random-seed1", seed=1))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        with torch.no_grad():
            for _ in range(5):
                backbone.train()(torch.randn(8, 3, 64, 64))
    return backbone.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_fold_batchnorm_leaves_no_batchnorm(name: str) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name).eval()
    assert not [module for module in fold_batchnorm(network).modules() if isinstance(module, nn.BatchNorm2d)]


def test_fold_batchnorm_changes_no_features(lived_in: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(fold_batchnorm(lived_in)(images), lived_in(images), rtol=1e-4, atol=1e-5)


def test_inference_form_fp32_equals_the_backbone(lived_in: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(inference_form(lived_in, "fp32")(images), lived_in(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_inference_form_bf16_points_where_fp32_does(name: str, images: torch.Tensor) -> None:
    backbone = build_backbone(name, SEED_0).eval()
    with torch.inference_mode():
        features, expected = inference_form(backbone, "bf16")(images), backbone(images)
    assert features.dtype == torch.float32
    assert float(nn.functional.cosine_similarity(features, expected).min()) >= 0.9999


def test_inference_form_leaves_the_backbone_alone(lived_in: nn.Module, images: torch.Tensor) -> None:
    before = state_digest(lived_in.state_dict())
    lived_in.train()
    form = inference_form(lived_in, "fp32")
    with torch.inference_mode():
        form(images)
    assert lived_in.training
    assert not form.training
    assert state_digest(lived_in.eval().state_dict()) == before
    assert all(parameter.requires_grad for parameter in lived_in.parameters())


@pytest.mark.parametrize("side", [1, 2, 3])
def test_small_map_conv_equals_the_convolution(side: int) -> None:
    generator = torch.Generator().manual_seed(side)
    conv = nn.Conv2d(5, 7, 3, padding=1).requires_grad_(False)
    for values in (conv.weight, conv.bias):
        assert values is not None
        values.normal_(generator=generator)
    maps = torch.randn(4, 5, side, side, generator=generator)
    torch.testing.assert_close(SmallMapConv(conv)(maps), conv(maps), rtol=1e-5, atol=1e-5)


def test_product_matrix_of_one_pixel_is_the_middle_of_the_kernel() -> None:
    weight = torch.arange(2 * 3 * 9.0).view(2, 3, 3, 3)
    assert product_matrix(weight, 1).tolist() == [[4.0, 13.0, 22.0], [31.0, 40.0, 49.0]]


@pytest.mark.parametrize("image_size", [32, 64, 96])
def test_inference_form_equals_the_backbone_at_every_size_of_map(lived_in: nn.Module, image_size: int) -> None:
    images = torch.randn(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(image_size))
    with torch.inference_mode():
        torch.testing.assert_close(inference_form(lived_in, "fp32")(images), lived_in(images), rtol=1e-4, atol=1e-5)


needs_packing = pytest.mark.skipif(not can_pack(), reason="oneDNN's fused convolutions need AVX2")


@needs_packing
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
@pytest.mark.parametrize(("n_images", "image_size"), [(8, 64), (3, 50), (1, 96), (1, 40), (2, 128)])
def test_packed_layers_give_the_features_of_torchs_own(
    name: str, n_images: int, image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = build_backbone(name, SEED_0).eval()
    images = torch.randn(n_images, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    packed = inference_form(backbone, "fp32")
    assert any(isinstance(module, PackedBlock) for module in packed.modules())
    assert not any(isinstance(module, nn.ReLU) for module in packed.modules())
    monkeypatch.setattr(inference, "can_pack", lambda: False)
    plain = inference_form(backbone, "fp32")
    assert not any(isinstance(module, PackedConv) for module in plain.modules())
    before = images.clone()
    with torch.inference_mode():
        expected = plain(images)
        torch.testing.assert_close(packed(images), expected, rtol=0, atol=3e-6 * float(expected.abs().max()))
        assert torch.equal(packed(images), packed(images))
    assert torch.equal(images, before)


@needs_packing
def test_packed_weights_do_not_depend_on_the_batch_that_came_first(lived_in: nn.Module) -> None:
    images = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    after_one, after_all = inference_form(lived_in, "fp32"), inference_form(lived_in, "fp32")
    with torch.inference_mode():
        after_one(images[:1])
        assert torch.equal(after_one(images), after_all(images))


@needs_packing
def test_packed_networks_work_without_inference_mode(lived_in: nn.Module, images: torch.Tensor) -> None:
    form = inference_form(lived_in, "fp32")
    with torch.inference_mode():
        expected = form(images)
    assert torch.equal(form(images), expected)


def test_bit_relu_equals_relu() -> None:
    maps = torch.randn(3, 5, 6, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    maps[0, 0, 0, :5] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, -1e-38])
    assert torch.equal(BitReLU()(maps.clone()), maps.relu())


@pytest.mark.parametrize("shape", [(2, 2), (4, 4), (32, 32), (6, 10), (7, 7), (8, 5)])
def test_bit_relu_max_pool_equals_relu_and_max_pool(shape: tuple[int, int]) -> None:
    maps = torch.randn(3, 5, *shape, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    maps[0] = -maps[0].abs()  # where all are negative, ReLU makes the maximum 0
    maps = maps.contiguous(memory_format=torch.channels_last)
    pooled = BitReLUMaxPool()(maps.clone(memory_format=torch.channels_last))
    assert torch.equal(pooled, nn.MaxPool2d(3, 2, 1)(maps.relu()))
    assert pooled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("image_size", [32, 50, 64])
def test_inference_form_bf16_gives_the_numbers_of_torchs_own_layers(
    lived_in: nn.Module, image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randn(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    images = images.to(torch.bfloat16, memory_format=torch.channels_last)
    form = inference_form(lived_in, "bf16")
    plain = nn.Sequential(*list(fold_batchnorm(lived_in).children())[:-2])
    plain.to(torch.bfloat16, memory_format=torch.channels_last)
    assert any(isinstance(module, BitReLUMaxPool) for module in form.modules())
    assert not any(isinstance(module, nn.ReLU | nn.MaxPool2d) for module in form.modules())
    # A product of matrices adds up in another order.
    monkeypatch.setattr(inference_layers, "_SMALL_SIDE", 0)
    with torch.inference_mode():
        assert torch.equal(form.stages(images), plain(images))
