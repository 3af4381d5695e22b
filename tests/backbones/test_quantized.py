import copy
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm as normal
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.quantized import Channels, QuantizedConv, Scale, has_int8
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.errors import InputError

pytestmark = pytest.mark.skipif(not has_int8(), reason="needs AVX2")


@pytest.fixture(scope="module")
def images() -> Tensor:
    batch = next(iter(iterate_batches(load_digits().splits["test"], 64, 24, 0)))
    return normalize(batch.images)


def network(name: str) -> nn.Module:
    return build_backbone(name, resolve_weights(name, "random", 0)).eval()


@pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (-2.0, 0.7), (3.0, 0.2), (0.0, 2.0), (0.4, 0.0), (-0.4, 0.0)])
def test_moments_after_a_relu_are_those_of_the_integral(mean: float, std: float) -> None:
    rectified = Channels(torch.tensor([mean]).double(), torch.tensor([std]).double()).rectified()
    if std == 0:
        expected = [max(mean, 0), 0.0]
    else:
        first, second = (quad(lambda x, k=k: x**k * normal.pdf(x, mean, std), 0, mean + 12 * std)[0] for k in (1, 2))
        expected = [first, np.sqrt(second - first**2)]
    assert [float(rectified.mean), float(rectified.std)] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("mean", "std"), [([0.5, -3.0], [1.0, 0.1]), ([-9.0, -8.0], [1.0, 1.0]), ([0.0], [0.0])])
def test_scales_span_six_deviations(mean: list[float], std: list[float]) -> None:
    channels = Channels(torch.tensor(mean), torch.tensor(std))
    ends = [m + sign * 6 * s for m, s in zip(mean, std, strict=True) for sign in (-1, 1)]
    step, zero = channels.scale
    assert (step * -zero, step * (255 - zero)) == pytest.approx((min(0, *ends), max(0, *ends)), abs=max(step, 1e-9))
    assert channels.rectified_scale.step * 255 == pytest.approx(max(0, *ends), abs=1e-9)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_shortcut", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "side"), [(3, 1, 1, 8), (3, 2, 1, 7), (1, 1, 1, 4), (1, 2, 1, 5), (3, 1, 4, 6)]
)
def test_a_convolution_is_that_of_what_the_integers_stand_for(
    kernel: int, stride: int, groups: int, side: int, with_shortcut: bool, relu: bool
) -> None:
    generator = torch.Generator().manual_seed(kernel + side)
    conv = nn.Conv2d(64, 32, kernel, stride, kernel // 2, groups=groups)
    with torch.no_grad():
        conv.weight.normal_(generator=generator)
        conv.bias.normal_(generator=generator)
        conv.weight[3] = 0
    conv = conv.requires_grad_(False).to(memory_format=torch.channels_last)
    of_maps, of_result, of_shortcut = Scale(0.02), Scale(0.4, 0 if relu or with_shortcut else 130), Scale(0.3, 100)
    maps = torch.randint(0, 256, (3, 64, side, side), dtype=torch.uint8, generator=generator)
    maps = maps.to(memory_format=torch.channels_last)
    # The mean shifts the bias alone; the integers say the rest.
    quantized = QuantizedConv(conv, of_maps, torch.zeros(64), of_result, relu)
    steps = conv.weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-9)[:, None, None, None] / 63
    weight = ((conv.weight / steps).round() * steps).double()
    assert conv.bias is not None
    exact = functional.conv2d(
        maps.double() * 0.02, weight, conv.bias.double(), stride=stride, padding=kernel // 2, groups=groups
    )
    shortcut = None
    if with_shortcut:
        shortcut = torch.randint(0, 256, exact.shape, dtype=torch.uint8, generator=generator)
        shortcut = shortcut.to(memory_format=torch.channels_last)
        exact = exact + (shortcut.double() - 100) * 0.3
    if relu or with_shortcut:
        exact = exact.relu()
    expected = (exact / 0.4).round() + of_result.zero
    given = (None, None) if shortcut is None else (shortcut.clone(memory_format=torch.preserve_format), of_shortcut)
    difference = (quantized(maps, *given).double() - expected.clamp(0, 255)).abs()
    assert float(difference.max()) <= 1
    assert float((difference > 0).double().mean()) < 0.001, "but for ties"


def test_rounded_weights_do_not_shift_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(256, 64, 1).requires_grad_(False).to(memory_format=torch.channels_last)
    with torch.no_grad():
        conv.weight.normal_(generator=generator)
        conv.weight[:, 0] = 8  # makes the steps long
    maps = torch.randint(90, 110, (16, 256, 4, 4), dtype=torch.uint8, generator=generator)
    maps = maps.to(memory_format=torch.channels_last)
    expected = conv(maps.float() * 0.1).mean(dim=(0, 2, 3))
    shifts = [
        (QuantizedConv(conv, Scale(0.1), mean, None, relu=False)(maps).mean(dim=(0, 2, 3)) - expected).abs().mean()
        for mean in (torch.full((256,), 9.95), torch.zeros(256))
    ]
    assert float(shifts[0]) < float(shifts[1]) / 10


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_features_point_where_those_in_float32_do(name: str, images: Tensor) -> None:
    backbone = network(name)
    before = copy.deepcopy(backbone.state_dict())
    with torch.inference_mode():
        rounded, exact = (inference_form(backbone, precision)(images) for precision in ("int8", "fp32"))
    assert rounded.shape == exact.shape
    assert rounded.dtype == torch.float32
    assert float(functional.cosine_similarity(rounded, exact).min()) > 0.985
    for tensor_name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[tensor_name]), tensor_name


def test_trained_statistics_give_the_ranges(images: Tensor) -> None:
    backbone = build_backbone("resnet18", resolve_weights("resnet18", "random:library", 0))
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        backbone.train()(images)
        backbone.eval()
        rounded, exact = (inference_form(backbone, precision)(images) for precision in ("int8", "fp32"))
    assert float(functional.cosine_similarity(rounded, exact).min()) > 0.985


@pytest.mark.parametrize("side", [16, 33, 50, 96])
def test_features_of_an_image_do_not_depend_on_the_others(side: int) -> None:
    images = torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(side))
    form = inference_form(network("resnet18"), "int8")
    with torch.inference_mode():
        assert torch.equal(form(images), torch.cat([form(images[:2]), form(images[2:])]))


def test_networks_work_without_inference_mode(images: Tensor) -> None:
    form = inference_form(network("resnet18"), "int8")
    with torch.inference_mode():
        expected = form(images)
    assert torch.equal(form(images), expected)


@pytest.mark.parametrize(
    ("backbone", "device", "line"),
    [
        (nn.Conv2d(3, 8, 3), "cpu", "a ResNet of torchvision's kind, .*, got torch.nn.modules.conv.Conv2d"),
        (None, "cuda", r"must run on a processor \(device=cpu\), got cuda"),
    ],
)
def test_other_networks_and_devices_get_one_line(backbone: nn.Module | None, device: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        InferenceForm(backbone or network("resnet18"), "int8", device)


def test_processors_without_avx2_get_one_line() -> None:
    backbone = network("resnet18")
    with (
        patch("torch.backends.cpu.get_cpu_capability", return_value="DEFAULT"),
        pytest.raises(InputError, match="needs a processor with AVX2 or AVX-512, got DEFAULT; use precision=auto"),
    ):
        InferenceForm(backbone, "int8", "cpu")


def test_blocks_whose_normalisation_says_no_ranges_are_refused() -> None:
    backbone = network("resnet18")
    backbone.get_submodule("layer2.0").bn1 = nn.GroupNorm(4, 128)
    with pytest.raises(InputError, match="whose BatchNorm says what ranges its maps have"):
        InferenceForm(backbone, "int8", "cpu")
