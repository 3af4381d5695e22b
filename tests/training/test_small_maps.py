import copy
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.training import small_maps
from resnet_mlflow.training.finetuning import FinetuneNetwork, build_linear
from resnet_mlflow.training.small_maps import MultipliedSmallMaps, convolve

SEED_0 = ResolvedWeights("random-seed0", "random-seed0", seed=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (4, 4), (3, 5)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (7, 2, 3)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_results_and_gradients_are_those_of_conv2d(
    height: int, width: int, kernel: int, stride: int, padding: int, channels_last: bool
) -> None:
    generator = torch.Generator().manual_seed(height + kernel)
    drawn = [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in [(6, 3, height, width), (5, 3, kernel, kernel)]
    ]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps, weight = (values.to(memory_format=layout).requires_grad_() for values in drawn)
    expected = functional.conv2d(maps, weight, stride=stride, padding=padding)
    convolved = convolve(maps, weight, (stride, stride), (padding, padding))
    torch.testing.assert_close(convolved, expected)
    gradient = torch.randn(*expected.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(convolved, (maps, weight), gradient),
        torch.autograd.grad(expected, (maps, weight), gradient),
    )


def test_only_gradients_that_are_needed_are_computed() -> None:
    maps, weight = torch.randn(2, 3, 2, 2), torch.randn(4, 3, 3, 3, requires_grad=True)
    convolve(maps, weight, (1, 1), (1, 1)).sum().backward()
    assert weight.grad is not None
    assert maps.grad is None


def _shapes_convolved(layer: nn.Module, maps: Tensor) -> list[torch.Size]:
    """Return the shapes of maps that ``convolve`` gets."""
    with patch.object(small_maps, "convolve", side_effect=convolve) as spied, MultipliedSmallMaps():
        layer(maps)
    return [call.args[0].shape for call in spied.call_args_list]


def test_the_context_takes_over_convolutions_with_few_results() -> None:
    conv, maps = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 2, 2)
    assert _shapes_convolved(conv, maps) == [maps.shape]
    with MultipliedSmallMaps():
        torch.testing.assert_close(conv(maps), functional.conv2d(maps, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), (2, 4, 3, 3)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), (2, 4, 2, 2)),
        (nn.Conv2d(4, 4, 2, dilation=2), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3, padding="same"), (2, 4, 2, 2)),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular").double(), (2, 4, 2, 2)),
    ],
)
def test_other_convolutions_stay_as_they_are(layer: nn.Conv2d, shape: tuple[int, int, int, int]) -> None:
    maps = torch.randn(*shape).to(layer.weight.dtype)
    assert _shapes_convolved(layer, maps) == []
    with MultipliedSmallMaps():
        assert torch.equal(layer(maps), layer.forward(maps))


def test_bf16_stays_as_it_is() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert _shapes_convolved(nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 2, 2)) == []


@pytest.mark.parametrize("train_layers", ["layer4", "all"])
def test_networks_have_the_gradients_of_plain_ones(train_layers: str) -> None:
    network = FinetuneNetwork(build_backbone("resnet18", SEED_0), build_linear(512, 3, 0), train_layers)
    plain = copy.deepcopy(network)
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network(images).logsumexp(1).sum().backward()
    plain.head(plain.backbone(images)).logsumexp(1).sum().backward()
    for (name, parameter), (_, expected) in zip(network.named_parameters(), plain.named_parameters(), strict=True):
        if not parameter.requires_grad:
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        assert expected.grad is not None
        error = (parameter.grad - expected.grad).abs().max() / expected.grad.abs().max()
        assert float(error) < 1e-4, name
        # Optimizers are faster on gradients in the order of the weights.
        assert parameter.grad.stride() == expected.grad.stride(), name
