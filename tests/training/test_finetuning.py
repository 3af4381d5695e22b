import logging
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone, state_digest
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.config import FinetuneConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.devices import open_fabric
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.training.finetuning import (
    FinetuneNetwork,
    build_linear,
    finetune_on_features,
    finetune_on_images,
    linear_state,
)
from resnet_mlflow.training.loop import EpochResult
from resnet_mlflow.training.parts import FrozenPart, first_trained
from resnet_mlflow.training.small_maps import MultipliedSmallMaps

SIZE = 32
N_CLASSES = 10
STAGES = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> tuple[ImageSplit, ImageSplit]:
    digits = load_dataset("digits", data_dir=tmp_path_factory.mktemp("data")).splits["train"]
    return digits.select(range(48)), digits.select(range(48, 80))


@pytest.fixture(scope="module")
def fabric():
    return open_fabric("cpu", "fp32")


def build_network(train_layers: str) -> FinetuneNetwork:
    weights = ResolvedWeights(label="random-seed0", digest="random-seed0", path=None, seed=0, fell_back=False)
    return FinetuneNetwork(build_backbone("resnet18", weights), build_linear(512, N_CLASSES, seed=0), train_layers)


def config(**options: object) -> FinetuneConfig:
    defaults = {"batch_size": 16, "num_workers": 0, "epochs": 1, "learning_rate": 0.01, "optimizer": "sgd"}
    return FinetuneConfig(**defaults | options)


def train(network, splits, options, fabric, **kwargs) -> list[EpochResult]:
    return list(finetune_on_images(network, *splits, options, image_size=SIZE, fabric=fabric, **kwargs))


def without_times(results: list[EpochResult]) -> list[EpochResult]:
    return [replace(result, seconds=0.0, images_per_second=0.0, replayed=False) for result in results]


def as_features(backbone: nn.Module, split: ImageSplit) -> FeatureSplit:
    form, features = inference_form(backbone, "fp32"), np.empty((len(split), 512), dtype=np.float32)
    with torch.inference_mode():
        for batch in iterate_batches(split, SIZE, 16, 0):
            features[batch.rows] = form(normalize(batch.images)).numpy()
    return FeatureSplit(features, split.labels, split.item_ids)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fc_on_stored_features_equals_full_forward_passes(splits, fabric, optimizer):
    options = config(epochs=3, optimizer=optimizer)
    network = build_network("fc")
    features = [as_features(network.backbone, split) for split in splits]
    layer = build_linear(512, N_CLASSES, seed=0)
    short = list(finetune_on_features(layer, *features, options))
    full = train(network, splits, options, fabric)
    for got, expected in zip(short, full, strict=True):
        assert got.train_loss == pytest.approx(expected.train_loss, abs=1e-5)
        assert got.val_metrics["loss"] == pytest.approx(expected.val_metrics["loss"], abs=1e-5)
        assert got.val_metrics["accuracy"] == expected.val_metrics["accuracy"]
    torch.testing.assert_close(layer.weight, network.head.weight, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.bias, network.head.bias, rtol=0, atol=1e-5)
    val_features = torch.from_numpy(features[1].features)
    assert torch.equal(layer(val_features).argmax(dim=1), network.head(val_features).argmax(dim=1))


@pytest.mark.parametrize(
    ("train_layers", "trained"),
    [("fc", []), ("layer4", ["layer4"]), ("layer3+", ["layer3", "layer4"]), ("all", STAGES)],
)
def test_finetune_on_images_changes_the_trained_stages_only(splits, fabric, train_layers, trained):
    network = build_network(train_layers)
    before = {name: state_digest(network.backbone.get_submodule(name).state_dict()) for name in STAGES}
    train(network, splits, config(train_layers=train_layers), fabric)
    after = {name: state_digest(network.backbone.get_submodule(name).state_dict()) for name in STAGES}
    # state_digest covers BatchNorm's running statistics too.
    assert [name for name in STAGES if before[name] != after[name]] == trained


def test_network_keeps_frozen_batchnorm_in_eval_mode_under_fabric(fabric):
    network = build_network("layer4")
    fabric.setup(network).train()
    assert not network.backbone.bn1.training
    assert not network.backbone.layer3[0].bn1.training
    assert network.backbone.layer4[0].bn1.training
    network.eval()
    assert not network.backbone.layer4[0].bn1.training


class AsInTraining(nn.Module):
    """Stages that round as the whole network does in training."""

    def __init__(self, stages: nn.Module) -> None:
        super().__init__()
        self.stages = stages

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with MultipliedSmallMaps():
            maps: torch.Tensor = self.stages(images)
        return maps


@pytest.mark.parametrize(
    ("train_layers", "augmentation", "kept"),
    [("layer4", "none", True), ("layer3+", "none", True), ("layer4", "none", False), ("layer4", "flip", True)],
)
def test_frozen_stages_once_equal_whole_forward_passes(splits, fabric, monkeypatch, train_layers, augmentation, kept):
    # Training multiplies the rounding of the fast form: noise of 1e-6 on the maps of conv1 changes the second loss of
    # layer3+ by 1e-3. The next test compares that form itself.
    monkeypatch.setattr("resnet_mlflow.training.parts.fast_stages", AsInTraining)
    # By SGD: AdamW's first steps are as long for gradients that are next to nothing, and multiply rounding.
    options = config(train_layers=train_layers, augmentation=augmentation, epochs=3)
    network, whole = build_network(train_layers), build_network(train_layers)
    if not kept:
        monkeypatch.setattr("resnet_mlflow.training.inputs.KEPT_BYTES", 0)
    short = train(network, splits, options, fabric)
    monkeypatch.setattr("resnet_mlflow.training.finetuning.first_trained", lambda network: None)
    for got, expected in zip(short, train(whole, splits, options, fabric), strict=True):
        assert got.train_loss == pytest.approx(expected.train_loss, abs=1e-5)
        assert got.val_metrics["loss"] == pytest.approx(expected.val_metrics["loss"], abs=1e-5)
        assert got.val_metrics["accuracy"] == expected.val_metrics["accuracy"]
    for got, expected in zip(network.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train_layers", ["fc", "layer4", "layer3+"])
def test_frozen_stages_give_the_maps_of_plain_ones(fabric, train_layers):
    network = build_network(train_layers)
    first = first_trained(network)
    frozen, images = FrozenPart(network, first, fabric), torch.randn(5, 3, 64, 64)
    expected = images
    with torch.no_grad():
        for name, stage in network.backbone.named_children():
            if name in {first, "avgpool"}:
                break
            expected = stage(expected)
        got = frozen(images)
    expected = expected if first else expected.mean(dim=(2, 3))
    torch.testing.assert_close(got, expected, rtol=0, atol=3e-6 * float(expected.abs().max()))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_frozen_stages_run_once_per_image_where_nothing_is_augmented(splits, fabric, monkeypatch):
    passed = []
    forward = FrozenPart.forward
    monkeypatch.setattr(FrozenPart, "forward", lambda self, images: passed.append(len(images)) or forward(self, images))
    train(build_network("layer4"), splits, config(train_layers="layer4", epochs=3), fabric)
    # Two more are looked at for the shape of what they become.
    assert sum(passed) == len(splits[0]) + len(splits[1]) + 2


@pytest.mark.parametrize(
    ("train_layers", "expected"), [("fc", ""), ("layer4", "layer4"), ("layer3+", "layer3"), ("all", None)]
)
def test_first_trained_stage(train_layers, expected):
    assert first_trained(build_network(train_layers)) == expected


def test_first_trained_stage_is_unknown_where_stages_need_not_act_in_order():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer4, self.layer1 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    assert first_trained(FinetuneNetwork(Sorted(), nn.Linear(4, 2), "layer4")) is None


@pytest.mark.parametrize(
    "options",
    [
        {"augmentation": "crop"},
        {"augmentation": "trivial", "train_layers": "layer4"},
        {"train_layers": "layer4"},
        {"train_layers": "all"},
    ],
)
def test_finetune_on_images_resumed_equals_undisturbed(splits, fabric, tmp_path, options):
    options = config(epochs=3, **options)
    undisturbed, resumed = build_network(options.train_layers), build_network(options.train_layers)
    expected = train(undisturbed, splits, options, fabric)
    checkpoint = tmp_path / "c.pt"
    started = build_network(options.train_layers)
    list(
        islice(finetune_on_images(started, *splits, options, image_size=SIZE, fabric=fabric, checkpoint=checkpoint), 1)
    )
    got = train(resumed, splits, options, fabric, checkpoint=checkpoint)
    assert [result.replayed for result in got] == [True, False, False]
    assert without_times(got) == without_times(expected)
    assert state_digest(resumed.state_dict()) == state_digest(undisturbed.state_dict())


def test_finetune_on_images_does_not_depend_on_workers(splits, fabric):
    one, other = (
        train(build_network("fc"), splits, config(augmentation="crop", num_workers=n), fabric) for n in (0, 2)
    )
    assert without_times(one) == without_times(other)


def test_finetune_on_images_seed_changes_order_and_augmentation(splits, fabric):
    one, other = (
        train(build_network("fc"), splits, config(augmentation="crop", seed=seed), fabric)[0] for seed in (0, 1)
    )
    assert one.train_loss != other.train_loss


@pytest.mark.parametrize("train_layers", ["all", "layer4"])
def test_finetune_on_images_trains_in_bf16(splits, train_layers):
    fabric = open_fabric("cpu", "bf16")
    network = build_network(train_layers)
    results = train(network, splits, config(train_layers=train_layers, epochs=4, optimizer="adamw"), fabric)
    assert results[-1].train_loss < results[0].train_loss
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("n_images", [17, 33])
def test_finetune_on_images_survives_a_last_batch_of_one(splits, fabric, n_images):
    """At 32 pixels the last feature map is 1 x 1: BatchNorm cannot train on one image."""
    small = (splits[0].select(range(n_images)), splits[1])
    (result,) = train(build_network("layer4"), small, config(train_layers="layer4"), fabric)
    assert np.isfinite(result.train_loss)


def test_finetune_on_images_refuses_batches_of_one_image(splits, fabric):
    options = config(train_layers="layer4", batch_size=1)
    with pytest.raises(InputError, match=r"batch_size must be at least 2 .* \(train_layers layer4\), got 1; raise"):
        train(build_network("layer4"), splits, options, fabric)


def test_finetune_on_images_takes_a_batch_size_over_the_dataset(splits, fabric):
    (result,) = train(build_network("fc"), splits, config(batch_size=1000), fabric)
    assert result.learning_rate == 0.01


@pytest.mark.parametrize("train_layers", ["fc", "layer4", "all"])
def test_finetune_on_images_names_a_skipped_image_once_per_split(fabric, tmp_path, caplog, train_layers):
    paths = tuple(tmp_path / f"{i}.png" for i in range(8))
    for i, path in enumerate(paths):
        Image.fromarray(np.full((40, 40, 3), 30 * i, dtype=np.uint8)).save(path)
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    split = ImageSplit(labels=np.arange(8) % 2, item_ids=np.array([str(i) for i in range(8)]), paths=paths)
    with caplog.at_level(logging.WARNING, logger="resnet_mlflow"):
        options = config(train_layers=train_layers, epochs=2, on_bad_image="skip")
        results = train(build_network(train_layers), (split, split), options, fabric)
    assert np.isfinite(results[-1].train_loss)
    assert sum("3.png" in record.message for record in caplog.records) == 2
    with pytest.raises(InputError, match=r"3\.png"):
        train(build_network(train_layers), (split, split), config(train_layers=train_layers), fabric)


def test_build_linear_depends_on_the_seed_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, again, other = (build_linear(64, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)
    assert float(one.weight.detach().abs().max()) <= 1 / 8


def test_linear_state_gives_the_layers_numbers():
    layer = build_linear(4, 3, seed=0)
    weight, bias = linear_state(layer)
    assert (weight.shape, bias.shape, weight.dtype) == ((3, 4), (3,), np.float64)
    np.testing.assert_array_equal(weight, layer.weight.detach().numpy())


@pytest.mark.parametrize(
    ("train_layers", "augmentation", "expected"),
    [("fc", "none", True), ("fc", "flip", False), ("layer4", "none", False)],
)
def test_trains_on_features_where_the_backbone_returns_the_same(train_layers, augmentation, expected):
    assert config(train_layers=train_layers, augmentation=augmentation).trains_on_features is expected


def test_finetune_on_features_reads_memory_maps(tmp_path: Path):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    np.save(tmp_path / "f.npy", (rng.normal(size=(40, 4)) + 4 * labels[:, None]).astype(np.float32))
    split = FeatureSplit(np.load(tmp_path / "f.npy", mmap_mode="r"), labels, np.array([str(i) for i in range(40)]))
    layer = build_linear(4, 2, seed=0)
    results = list(finetune_on_features(layer, split, split, config(epochs=20, learning_rate=0.1)))
    assert results[-1].val_metrics["accuracy"] > 0.9
