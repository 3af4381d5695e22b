import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.devices import cpu_has_bf16, pick_device, pick_precision
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import (
    FeatureIdentity,
    FeatureSet,
    FeatureSplit,
    features_key,
    identify,
    partition,
    refuse_skipped,
)

IDENTITY = FeatureIdentity("d", {"train": "a", "test": "b"}, "resnet18", "w", "p", 64, "fp32")


def numbered(n_items: int, first: int = 0) -> FeatureSplit:
    numbers = np.arange(first, first + n_items)
    return FeatureSplit(numbers[:, None].astype(np.float32), numbers % 2, numbers.astype("<U32"))


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_dataset("digits", data_dir=Path())


def test_features_key_is_the_same_in_every_process() -> None:
    # A changed value here throws away every stored feature of every user.
    assert features_key(IDENTITY) == "e9ddc70c2188d61ea997961d8a05a269"


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset_digest": "e"},
        {"split_ids": {"train": "a", "test": "c"}},
        {"backbone": "resnet34"},
        {"weights_digest": "x"},
        {"preprocessing": "q"},
        {"image_size": 65},
        {"precision": "bf16"},
    ],
)
def test_features_key_follows_everything_that_decides_the_features(changed: dict[str, object]) -> None:
    assert features_key(replace(IDENTITY, **changed)) != features_key(IDENTITY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(seed=1, device="cpu"),
        FeatureConfig(batch_size=7, device="cpu"),
        FeatureConfig(val_fraction=0.5, device="cpu"),
        FeatureConfig(image_size=32, device="cpu"),
        FeatureConfig(on_bad_image="skip", device="cpu"),
    ],
)
def test_identify_ignores_what_changes_no_feature(config: FeatureConfig, digits: ImageDataset) -> None:
    weights = resolve_weights("resnet18", "random", 0)
    assert identify(digits, config, weights) == identify(digits, FeatureConfig(device="cpu"), weights)


def test_identify_sees_the_order_of_items_and_their_labels(digits: ImageDataset) -> None:
    weights, config = resolve_weights("resnet18", "random", 0), FeatureConfig(device="cpu")
    train = digits.splits["train"]
    turned = replace(digits, splits={**digits.splits, "train": train.select(np.arange(len(train))[::-1])})
    relabelled = replace(digits, splits={**digits.splits, "train": replace(train, labels=train.labels[::-1])})
    keys = {features_key(identify(dataset, config, weights)) for dataset in (digits, turned, relabelled)}
    assert len(keys) == 3


def test_partition_draws_validation_from_train() -> None:
    feature_set = FeatureSet("k", {"train": numbered(10), "test": numbered(4, 100)}, {"class_names": ["a", "b"]})
    splits = partition(feature_set, val_fraction=0.2, seed=0)
    assert list(splits) == ["train", "val", "test"]
    assert [len(split) for split in splits.values()] == [8, 2, 4]
    # Features, labels and ids of an item stay together, and no item is lost or doubled.
    for split in splits.values():
        assert split.features[:, 0].astype(int).astype("<U32").tolist() == split.item_ids.tolist()
        assert (split.features[:, 0].astype(int) % 2).tolist() == split.labels.tolist()
    drawn = np.concatenate([splits["train"].item_ids, splits["val"].item_ids])
    assert sorted(drawn.tolist(), key=int) == [str(number) for number in range(10)]


def test_partition_keeps_the_datasets_own_validation() -> None:
    own = {"test": numbered(4), "val": numbered(3), "train": numbered(9)}
    splits = partition(FeatureSet("k", own, {"class_names": ["a", "b"]}), val_fraction=0.2, seed=0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "val": 3, "test": 4}


def test_partition_moves_with_the_seed_and_only_with_it() -> None:
    feature_set = FeatureSet("k", {"train": numbered(40), "test": numbered(4)}, {"class_names": ["a", "b"]})
    first, again, other = (partition(feature_set, 0.2, seed)["val"].item_ids.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_refuse_skipped_names_the_image() -> None:
    meta = {"skipped": [{"split": "train", "row": 3, "path": "/data/x.jpg", "reason": "truncated"}]}
    refuse_skipped(FeatureSet("k", {}, meta), "skip")
    with pytest.raises(BadImageError, match=r"/data/x.jpg \(truncated\)"):
        refuse_skipped(FeatureSet("k", {}, meta), "fail")


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_pick_precision_takes_what_is_asked(device: str) -> None:
    assert pick_precision("fp32", device) == "fp32"
    assert pick_precision("bf16", device) == "bf16"


def test_pick_precision_auto_follows_the_processor() -> None:
    assert pick_precision("auto", "cpu") == ("bf16" if cpu_has_bf16() else "fp32")
    assert pick_precision("auto", "mps") == "fp32"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_cpu_has_bf16_agrees_with_torch() -> None:
    import torch

    if not hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        pytest.skip("this torch does not tell")
    assert cpu_has_bf16() == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def test_pick_device_auto_agrees_with_torch() -> None:
    import torch

    there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto") == there
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_pick_device_refuses_what_is_not_there(device: str) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(InputError, match=f"device must be available to torch here, got '{device}'; pass device=auto"):
        pick_device(device)
