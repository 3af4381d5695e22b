"""Grad-CAM against its formula written out, and the choice of items."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.grad_cam import choose_items, grad_cam
from resnet_mlflow.evaluation.scores import evaluate


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    network = resnet18(weights=None)
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def head() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 5))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(2))


def stage_outputs(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the activations of layer4, by calling the stages one by one."""
    x = images
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        x = getattr(backbone, name)(x)
    return x


def test_grad_cam_equals_its_formula(backbone: nn.Module, head: nn.Module, images: torch.Tensor) -> None:
    targets = [4, 0, 2]
    activations = stage_outputs(backbone, images).detach().requires_grad_()
    logits = head(activations.mean(dim=(2, 3)))
    (gradient,) = torch.autograd.grad(logits[range(3), targets].sum(), activations)
    support = torch.einsum("nc,nchw->nhw", gradient.mean(dim=(2, 3)), activations).clamp(min=0).detach()
    resized = nn.functional.interpolate(support[:, None], (96, 96), mode="bilinear")[:, 0].numpy()
    expected = resized / resized.max(axis=(1, 2), keepdims=True)
    maps = grad_cam(backbone, head, images, targets)
    assert maps.shape == (3, 96, 96)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, atol=2e-5)


def test_grad_cam_of_a_linear_head_is_the_weighted_sum_of_channels(backbone: nn.Module, images: torch.Tensor) -> None:
    # d logit / d A_k = w_k / (3 x 3 cells) everywhere, so the map is relu(sum_k w_k A_k) up to scale.
    torch.manual_seed(3)
    head = nn.Linear(512, 4)
    activations = stage_outputs(backbone, images)
    support = torch.einsum("c,nchw->nhw", head.weight[1], activations).clamp(min=0).detach()
    maps = grad_cam(backbone, head, images, [1, 1, 1])
    cells = maps[:, 15::32, 15::32]  # near the centres of the three cells, where resizing changes nothing
    expected = (support / support.amax(dim=(1, 2), keepdim=True)).numpy()
    np.testing.assert_allclose(cells / cells.max(axis=(1, 2), keepdims=True), expected, atol=0.05)


def test_grad_cam_is_in_the_unit_interval_with_a_maximum_of_one(
    backbone: nn.Module, head: nn.Module, images: torch.Tensor
) -> None:
    maps = grad_cam(backbone, head, images, [0, 1, 2])
    assert maps.min() >= 0
    assert np.allclose(maps.max(axis=(1, 2)), 1)


def test_grad_cam_depends_on_the_target(backbone: nn.Module, head: nn.Module, images: torch.Tensor) -> None:
    first, second = (grad_cam(backbone, head, images[:1], [target]) for target in (0, 1))
    assert np.abs(first - second).max() > 0.1


def test_grad_cam_without_support_is_zero(backbone: nn.Module, images: torch.Tensor) -> None:
    head = nn.Linear(512, 2)
    nn.init.constant_(head.weight, -1.0)  # activations of layer4 are non-negative
    assert (grad_cam(backbone, head, images, [0, 1, 0]) == 0).all()


def test_grad_cam_does_not_depend_on_its_batches(
    backbone: nn.Module, head: nn.Module, monkeypatch: pytest.MonkeyPatch, images: torch.Tensor
) -> None:
    whole = grad_cam(backbone, head, images, [0, 1, 2])
    monkeypatch.setattr("resnet_mlflow.evaluation.grad_cam.BATCH_SIZE", 2)
    np.testing.assert_allclose(grad_cam(backbone, head, images, [0, 1, 2]), whole, atol=1e-5)


def test_grad_cam_works_under_inference_mode_and_leaves_the_network_as_it_was(
    backbone: nn.Module, head: nn.Module, images: torch.Tensor
) -> None:
    expected = grad_cam(backbone, head, images, [0, 1, 2])
    statistics = backbone.get_buffer("bn1.running_mean").clone()
    backbone.train()
    try:
        with torch.inference_mode():
            maps = grad_cam(backbone, head, images * 1.0, [0, 1, 2])
        assert backbone.training
        assert backbone.get_submodule("layer4").training
    finally:
        backbone.eval()
    np.testing.assert_array_equal(maps, expected)
    assert torch.equal(backbone.get_buffer("bn1.running_mean"), statistics)
    assert all(parameter.grad is None for parameter in head.parameters())


def test_grad_cam_of_no_images_is_empty(backbone: nn.Module, head: nn.Module) -> None:
    assert grad_cam(backbone, head, torch.zeros(0, 3, 32, 32), []).shape == (0, 32, 32)


def test_grad_cam_refuses_other_networks_and_missing_targets(
    backbone: nn.Module, head: nn.Module, images: torch.Tensor
) -> None:
    with pytest.raises(InputError, match="needs a backbone with a layer4, got Linear"):
        grad_cam(nn.Linear(2, 2), head, images, [0, 0, 0])
    with pytest.raises(InputError, match=r"with n targets, got \(3, 3, 96, 96\), 2"):
        grad_cam(backbone, head, images, [0, 0])


def test_choose_items_draws_right_and_wrong_rows() -> None:
    probabilities = np.tile([0.9, 0.1], (20, 1))
    labels = np.repeat([0, 1], [17, 3])
    evaluation = evaluate(labels, probabilities, [str(i) for i in range(20)], ["a", "b"])
    right, wrong = choose_items(evaluation, 4, seed=0)
    assert len(set(right)) == 4
    assert right.max() < 17
    assert (np.diff(right) > 0).all()
    assert wrong.tolist() == [17, 18, 19]  # fewer than asked for: all of them
    again = choose_items(evaluation, 4, seed=0)
    assert np.array_equal(right, again[0])
    assert not np.array_equal(right, choose_items(evaluation, 4, seed=1)[0])
