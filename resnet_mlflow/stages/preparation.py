"""The start of every stage: the dataset, the weights, the feature store, and the cache keys."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow import __version__
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.config import EXECUTION_ONLY, Config, DatasetConfig, FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import (
    CALIBRATION,
    FeatureIdentity,
    FeatureSet,
    FeatureSplit,
    features_key,
    identify,
    split_digest,
)
from resnet_mlflow.features.store import FeatureStore, default_cache_dir
from resnet_mlflow.files.paths import is_file, user_path
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.stages.division import (
    Imbalance,
    division_remarks,
    division_tags,
    groups_digest,
    imbalance_of,
)
from resnet_mlflow.tracking import StageRun, TrackedDataset, download_backbone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The whole that a run belongs to if it works on other splits than the dataset's own.

    Attributes:
        stage: Stage of these runs: ``fold`` of a cross-validation, or ``refit`` on all images after it.
        name: Suffix of the run's name.
        of: The whole: its features are computed once and include those of the part.
        tags: Tags of the run.
    """

    stage: Literal["fold", "refit"]
    name: str
    of: "Inputs"
    tags: Mapping[str, object]


@dataclass(frozen=True)
class Inputs:
    """Inputs of a stage, after its configuration is resolved on this machine.

    Attributes:
        dataset: Images and labels.
        weights: Weights of the backbone.
        store: The feature store.
        cache_dir: The folder of the store.
        identity: Identity of the features of ``dataset`` by ``weights``.
        n_undecodable: Number of images that could not be decoded.
        weights_taken: Tensors used from the weights file, if known and not the standard ones.
        part: The part and its whole, if ``dataset`` has other splits than the original dataset.
        group_by: What images of one group have in common, as requested.
        imbalance: Imbalance caused by groups, see ``division.imbalance_of``.
    """

    dataset: ImageDataset
    weights: ResolvedWeights
    store: FeatureStore
    cache_dir: Path
    identity: FeatureIdentity
    n_undecodable: int = 0
    weights_taken: str = ""
    part: Part | None = None
    group_by: str = ""
    imbalance: Imbalance = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Return the side of the network's input in pixels."""
        return self.identity.image_size

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how images are resized, cropped and normalised."""
        return Preprocessing.read(self.identity.preprocessing)

    @property
    def precision(self) -> str:
        """Return ``fp32``, ``bf16`` or ``int8``."""
        return self.identity.precision

    @cached_property
    def features_key(self) -> str:
        """Return the key of the features in every store."""
        whole = self.whole
        return features_key(self.identity) if whole is None else whole.features_key

    @property
    def whole(self) -> "Inputs | None":
        """Return the inputs with the features of a part; None for a whole, and for a part with its own backbone."""
        whole = None if self.part is None else self.part.of
        return whole if whole and whole.identity.weights_digest == self.identity.weights_digest else None

    def stage_of(self, entry_point: str) -> str:
        """Return the ``stage`` tag of an entry point's run."""
        return entry_point if self.part is None else self.part.stage

    def name_of(self, name: str) -> str:
        """Return a run's name with the part as its suffix."""
        return name if self.part is None else f"{name} {self.part.name}"

    def with_part(self, part: Part, dataset: ImageDataset) -> "Inputs":
        """Return the inputs for other splits of the same images."""
        split_ids = {name: split_digest(split) for name, split in sorted(dataset.splits.items())}
        identity = replace(self.identity, split_ids=split_ids)
        # The imbalance concerns the splits of the whole.
        return replace(self, dataset=dataset, identity=identity, part=part, imbalance={})

    def with_weights(self, weights: ResolvedWeights) -> "Inputs":
        """Return the inputs for the same images and another backbone's weights."""
        return replace(self, weights=weights, identity=replace(self.identity, weights_digest=weights.digest))

    def without(self, features: FeatureSet) -> "Inputs":
        """Return the inputs with facts known only after extraction: images without features, and tensors loaded."""
        taken = self.weights_taken or features.meta.get("weights_taken", "")
        return replace(self, n_undecodable=len(features.meta["skipped"]), weights_taken=taken)

    @cached_property
    def grouping(self) -> dict[str, str]:
        """Return a digest of the grouping, on which draws depend; empty if each image is its own group."""
        return {"groups": groups_digest(self.dataset)} if self.dataset.has_groups else {}

    @property
    def n_skipped(self) -> int:
        """Return the number of images left out because they are not images or cannot be decoded."""
        return self.dataset.n_skipped + self.n_undecodable

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags that record what the run's numbers are based on."""
        duplicates = {pair: n for pair, n in self.dataset.n_duplicates_across_splits.items() if n}
        return {
            "dataset": self.dataset.short_name,
            "dataset_digest": self.dataset.digest,
            "weights": self.weights.label,
            "features_key": self.features_key,
            "image_size": str(self.image_size),
            "precision": self.precision,
            "preprocessing": self.identity.preprocessing,
            "n_skipped_images": str(self.n_skipped),
            "duplicates_across_splits": json.dumps(duplicates),
            **({} if self.part is None else {tag: str(value) for tag, value in self.part.tags.items()}),
            **({"corrected_from": self.dataset.corrected_from} if self.dataset.corrected_from else {}),
            **division_tags(self.dataset, self.group_by, self.imbalance),
        }

    @property
    def remarks(self) -> list[str]:
        """Return remarks for the run's note that precede its numbers."""
        remarks = [
            f"{n} images of {pair.split('/')[1]} are also in {pair.split('/')[0]}."
            for pair, n in self.dataset.n_duplicates_across_splits.items()
            if n
        ]
        remarks += division_remarks(self.dataset, self.group_by, self.imbalance)
        if self.weights.fell_back:
            remarks.append("ImageNet weights were not available: the backbone has **random weights**.")
        if self.weights_taken:
            remarks.append(f"Taken from the weights file: `{self.weights_taken}`.")
        if self.dataset.corrected_from:
            remarks.append(f"The dataset has corrections; before them, its digest was {self.dataset.corrected_from}.")
        if self.n_skipped:
            remarks.append(f"{self.n_skipped} unreadable images were skipped.")
        return remarks


def prepare(config: FeatureConfig) -> Inputs:
    """Return the dataset, weights and keys of a configuration on this machine.

    Raises:
        InputError: If the dataset or the weights are not available, or groups leave no validation split.
    """
    cache_dir = default_cache_dir(config.cache_dir)
    dataset = prepare_dataset(config, cache_dir)
    weights = resolve_weights(config.backbone, config.weights, config.weights_seed, download_backbone)
    identity = identify(dataset, config, weights)
    store = FeatureStore(cache_dir)
    imbalance = imbalance_of(dataset, config.val_fraction, config.seed)
    return Inputs(dataset, weights, store, cache_dir, identity, group_by=config.group_by, imbalance=imbalance)


def prepare_dataset(config: DatasetConfig, cache_dir: Path) -> ImageDataset:
    """Return the dataset named in a configuration.

    Raises:
        InputError: If it is not available, or has fewer than 2 classes.
    """
    data_dir = config.data_dir or str(cache_dir / "data")
    given = {"corrections": config.corrections, **config.division}
    stamp = _stamp(config.corrections)
    dataset = _load(config.dataset, data_dir, config.on_bad_image, config.max_pixels, stamp, **given)
    if len(dataset.class_names) < 2:
        raise InputError(f"a dataset must have at least 2 classes, got {list(dataset.class_names)} in {dataset.name}")
    return dataset


@lru_cache(maxsize=2)
def _load(name: str, data_dir: str, on_bad_image: str, max_pixels: int, stamp: int, **given: str) -> ImageDataset:
    # A study requests the same dataset in every cell. The stamp reveals corrections edited in between.
    dataset = load_dataset(name, data_dir=Path(data_dir), on_bad_image=on_bad_image, max_pixels=max_pixels, **given)
    if dataset.n_skipped:
        logger.warning("%s: %d unreadable images skipped", dataset.name, dataset.n_skipped)
    return dataset


def _stamp(file: str) -> int:
    path = user_path(file, "corrections")
    return path.stat().st_mtime_ns if file and is_file(path) else 0


def compute_cache_key(stage: str, config: Config, inputs: Inputs) -> str:
    """Return the digest of everything that determines a run's numbers, except machine-dependent variation."""
    # A part is identified by its items, so that any process that divides the images in the same way finds it.
    part = {} if inputs.part is None else {"part": inputs.part.stage, "split_ids": dict(inputs.identity.split_ids)}
    return digest_of(
        {
            "stage": stage,
            "config": config.model_dump(exclude=set(EXECUTION_ONLY | config.unread)),
            "features_key": inputs.features_key,
            "version": __version__,
            **part,
            **inputs.grouping,
        }
    )


def digest_of(content: Mapping[str, object]) -> str:
    """Return 32 hexadecimal digits that identify a JSON-like mapping, independent of the order of keys."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def track_split(run: StageRun, inputs: Inputs, name: str, split: FeatureSplit) -> TrackedDataset:
    """Log one split as an input of the run, and return it for linking metrics to it."""
    context = {"train": "training", "val": "validation", CALIBRATION: CALIBRATION, "test": "testing"}[name]
    groups = {"n_groups": len(np.unique(split.groups))} if inputs.dataset.has_groups else {}
    return track_items(run, inputs, name, split.labels, split.item_ids, context, groups)


def track_items(
    run: StageRun,
    inputs: Inputs,
    name: str,
    labels: NDArray[np.int64],
    item_ids: NDArray[np.str_],
    context: str,
    known: Mapping[str, int] | None = None,
) -> TrackedDataset:
    """Log labelled items of a dataset as an input of the run in the role ``context``, with further facts."""
    known = known or {}
    names = inputs.dataset.class_names
    counts = np.bincount(labels, minlength=len(names)).tolist()
    tracked = TrackedDataset(
        f"{inputs.dataset.short_name}-{name}",
        _split_digest(item_ids, labels),
        inputs.dataset.source,
        {
            "n_images": len(labels),
            "dataset_digest": inputs.dataset.digest,
            "class_counts": dict(zip(names, counts, strict=True)),
            **known,
        },
    )
    run.log_dataset(tracked, context, {tag: str(value) for tag, value in known.items()})
    return tracked


def _split_digest(item_ids: NDArray[np.str_], labels: NDArray[np.int64]) -> str:
    rows = np.char.add(item_ids, np.char.mod(":%d", labels))
    return hashlib.blake2b("\n".join(np.sort(rows).tolist()).encode(), digest_size=16).hexdigest()
