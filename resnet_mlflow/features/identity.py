"""Features of a dataset, the key that identifies them, and the splits that heads use."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.data.splits import draw_shots, split_validation
from resnet_mlflow.devices import pick_device, pick_precision
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing, changed

logger = logging.getLogger(__name__)

# Preprocessing for weights that specify none: a change of resizing.resize_crop or loading.normalize needs a new text.
PREPROCESSING = str(PLAIN)
# Validation items that are not used for selection.
CALIBRATION = "calibration"


@dataclass(frozen=True)
class FeatureSplit:
    """Features of one split.

    Attributes:
        features: ``(n_items, n_features)`` float32, possibly a memory map.
        labels: ``(n_items,)`` int64.
        item_ids: ``(n_items,)`` text, the digest of each item's content.
        group_numbers: Values of ``groups``, if the dataset is known, ``(n_items,)``.
        items: Numbers of the items in the dataset, as in its splits, ``(n_items,)``; None if unknown.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    item_ids: NDArray[np.str_]
    group_numbers: NDArray[np.int64] | None = None
    items: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: NDArray[np.int64]) -> "FeatureSplit":
        """Return the given rows as arrays in memory."""
        return FeatureSplit(
            np.asarray(self.features[rows]),
            self.labels[rows],
            self.item_ids[rows],
            None if self.group_numbers is None else self.group_numbers[rows],
            None if self.items is None else self.items[rows],
        )

    @property
    def groups(self) -> NDArray[np.int64]:
        """Return the number of each item's group, ``(n_items,)``; copies are always one group."""
        return number_groups(self.item_ids) if self.group_numbers is None else self.group_numbers


@dataclass(frozen=True)
class FeatureSet:
    """Features of a dataset's splits, with their origin in ``meta``."""

    key: str
    splits: Mapping[str, FeatureSplit]
    meta: Mapping[str, Any]

    def of(self, dataset: ImageDataset) -> "FeatureSet":
        """Return the features with the groups and numbers of their images.

        Args:
            dataset: The dataset they were extracted from; omitted images are listed in ``meta``.
        """
        return replace(self, splits={name: self._of(dataset.splits[name], name) for name in self.splits})

    def _of(self, images: ImageSplit, name: str) -> FeatureSplit:
        left_out = [item["row"] for item in self.meta["skipped"] if item["split"] == name]
        rows = np.setdiff1d(np.arange(len(images)), left_out)
        numbers = None if images.items is None else images.items[rows]
        return replace(self.splits[name], group_numbers=images.groups[rows], items=numbers)


@dataclass(frozen=True)
class FeatureIdentity:
    """Everything that determines the features, and nothing else.

    Attributes:
        dataset_digest: Content digest of the dataset.
        split_ids: Digest of each split's items and labels, in the order of the rows.
        backbone: Name of the network.
        weights_digest: Identity of its weights.
        preprocessing: Text of the resizing and normalisation, see ``registry.preprocessing``.
        image_size: Side of the network's input in pixels.
        precision: ``fp32``, ``bf16`` or ``int8``.
    """

    dataset_digest: str
    split_ids: Mapping[str, str]
    backbone: str
    weights_digest: str
    preprocessing: str
    image_size: int
    precision: str


def identify(dataset: ImageDataset, config: FeatureConfig, resolved: ResolvedWeights) -> FeatureIdentity:
    """Return the identity of requested features, without computing them or importing torch.

    Raises:
        InputError: If the requested device is not available, or the preprocessing of the weights or the request is not
            supported.
    """
    image_size = config.image_size or dataset.default_image_size
    return FeatureIdentity(
        dataset_digest=dataset.digest,
        split_ids={name: split_digest(split) for name, split in sorted(dataset.splits.items())},
        backbone=config.backbone,
        weights_digest=resolved.digest,
        preprocessing=str(_preprocessing(config, resolved, image_size)),
        image_size=image_size,
        precision=pick_precision(config.precision, pick_device(config.device)),
    )


def _preprocessing(config: FeatureConfig, resolved: ResolvedWeights, image_size: int) -> Preprocessing:
    if resolved.preprocessing_problem and not config.resize:
        raise InputError(resolved.preprocessing_problem)
    return changed(
        resolved.preprocessing,
        image_size,
        resize=config.resize,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
    )


def features_key(identity: FeatureIdentity) -> str:
    """Return the key of the features in every store, 32 hexadecimal digits."""
    canonical = json.dumps(asdict(identity), sort_keys=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def partition(
    feature_set: FeatureSet, val_fraction: float, seed: int, shots: int = 0, calibration_fraction: float = 0.0
) -> dict[str, FeatureSplit]:
    """Return the splits ``train``, ``val`` and ``test``; without a given ``val``, it is drawn from train.

    With ``calibration_fraction`` there is also ``calibration``. No group is in two of the drawn splits.

    Args:
        feature_set: Features of the splits ``train`` and optionally ``val`` and ``test``: a refit has no test split.
        val_fraction: Fraction of train used for validation, in (0, 1).
        seed: Seed of the draw, which is stratified by class.
        shots: Training items per class, drawn after the validation items; 0 means all.
        calibration_fraction: Fraction of the validation items that is set aside and not used for selection.

    Raises:
        InputError: If a class has too few items or groups.
    """
    splits, names = dict(feature_set.splits), feature_set.meta["class_names"]
    if "val" not in splits:
        train = splits["train"]
        train_rows, val_rows = split_validation(train.labels, val_fraction, seed, names, train.groups)
        splits |= {"train": train.select(train_rows), "val": train.select(val_rows)}
    if calibration_fraction:
        val = splits["val"]
        val_rows, aside = split_validation(val.labels, calibration_fraction, seed, names, val.groups)
        splits |= {"val": val.select(val_rows), CALIBRATION: val.select(aside)}
    if shots:
        train = splits["train"]
        splits["train"] = train.select(draw_shots(train.labels, shots, seed, names, train.groups))
    return {name: splits[name] for name in ("train", "val", CALIBRATION, "test") if name in splits}


def select_part(features: FeatureSet, pool: Sequence[str], item_ids: Mapping[str, NDArray[np.str_]]) -> FeatureSet:
    """Return features divided into other splits, in the order of the pool's splits.

    Args:
        features: Features of the whole dataset.
        pool: Splits whose items are divided again; equal items are in the same new split.
        item_ids: Item ids of each new split; omitted images have no features.
    """
    parts = [features.splits[name] for name in pool]
    whole = parts[0] if len(parts) == 1 else joined_features(parts)
    splits = {name: whole.select(np.flatnonzero(np.isin(whole.item_ids, ids))) for name, ids in item_ids.items()}
    return FeatureSet(features.key, splits, features.meta)


def joined_features(parts: Sequence[FeatureSplit]) -> FeatureSplit:
    """Return the items of several splits as one, in their order."""
    return FeatureSplit(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.item_ids for part in parts]),
        _all_or_none([part.group_numbers for part in parts]),
        _all_or_none([part.items for part in parts]),
    )


def _all_or_none(numbers: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    known = [part for part in numbers if part is not None]
    return np.concatenate(known) if len(known) == len(numbers) else None


def refuse_skipped(feature_set: FeatureSet, on_bad_image: str) -> None:
    """Raise the extraction's own error if bad images were left out of the features, but must not be.

    Args:
        feature_set: Features from the store.
        on_bad_image: ``fail`` or ``skip``.

    Raises:
        BadImageError: If ``on_bad_image`` is ``fail`` and images were left out; the message names the first.
    """
    if on_bad_image == "fail" and feature_set.meta["skipped"]:
        first = feature_set.meta["skipped"][0]
        raise BadImageError(Path(first["path"]), first["reason"])


def split_digest(split: ImageSplit) -> str:
    """Return 32 hexadecimal digits over a split's labels and items, in the order of the rows."""
    digest = hashlib.blake2b(np.ascontiguousarray(split.labels, dtype="<i8").tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(split.item_ids, dtype="<U32").tobytes())
    return digest.hexdigest()
