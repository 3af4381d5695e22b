"""One pass over each corrupted test set, for all classifiers that share a backbone."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.devices import pick_device
from resnet_mlflow.evaluation.scores import expected_calibration_error
from resnet_mlflow.features.identity import split_digest
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.robustness.results import ResultStore, SetIdentity, SetResult, cell_key
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet, sample_rows
from resnet_mlflow.robustness.sweep import ImagesUnderTest, choose_images, compute_features, readable_rows
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.stages.robustness_sources import Group
from resnet_mlflow.terminal import left_in_words

logger = logging.getLogger(__name__)

Results = dict[CorruptedSet, SetResult]


def choose_split(classifier: RunClassifier, config: RobustnessConfig) -> ImageSplit:
    """Return the test images, or a sample of them, without those skipped by the classifier's run."""
    split = classifier.inputs.dataset.splits["test"]
    if classifier.config.on_bad_image == "skip":
        split = split.select(readable_rows(split, config.num_workers))
    return split.select(sample_rows(split.labels, config.max_images, config.seed))


@dataclass(frozen=True)
class Sweep:
    """A group of classifiers under test.

    Attributes:
        group: The classifiers.
        images: The test images.
        config: Batch size, threads, device, and whether to keep features.
    """

    group: Group
    images: ImagesUnderTest
    config: RobustnessConfig

    @classmethod
    def of(cls, group: Group, split: ImageSplit, config: RobustnessConfig) -> "Sweep":
        """Return the sweep of a group over test images.

        Raises:
            InputError: If an image is too small to be corrupted.
        """
        return cls(group, choose_images(split, group.first.inputs.image_size, config.corruption_size), config)

    def run(self, cells: Sequence[CorruptedSet]) -> dict[str, Results]:
        """Return the results of each classifier by the id of its run; those on disk are not computed again."""
        results: dict[str, Results] = {one.run.info.run_id: {} for one in self.group.classifiers}
        started, n_made = time.perf_counter(), 0
        begun = time.perf_counter()
        for position, cell in enumerate((CLEAN, *cells)):
            made = self._run_cell(cell, results)
            n_made += made
            is_last = position == len(cells) or cells[position].corruption != cell.corruption
            if is_last and cell != CLEAN:
                rate = n_made * len(self.images.split) / (time.perf_counter() - started)
                left = (time.perf_counter() - begun) / position * (len(cells) - position)
                how = f"{rate:.0f} images/s{left_in_words(left)}" if n_made else "finished before"
                logger.info("[%d/%d] %s (%s)", position, len(cells), cell.corruption, how)
                started, n_made = time.perf_counter(), 0
        return results

    def fill(self, cells: Sequence[CorruptedSet]) -> None:
        """Write the results of all classifiers to disk."""
        results: dict[str, Results] = {one.run.info.run_id: {} for one in self.group.classifiers}
        for cell in cells:
            self._run_cell(cell, results)

    def is_done(self, cell: CorruptedSet) -> bool:
        """Return whether the results of all classifiers are on disk."""
        key, store = cell_key(self.identity(cell)), ResultStore(self.group.first.inputs.cache_dir)
        return all(store.get(key, one.run.info.run_id) is not None for one in self.group.classifiers)

    def identity(self, cell: CorruptedSet) -> SetIdentity:
        """Return everything that determines the features of a cell."""
        first = self.group.first
        return SetIdentity(
            items=split_digest(self.images.split),
            backbone=first.config.backbone,
            weights_digest=first.inputs.weights.digest,
            preprocessing=first.inputs.identity.preprocessing,
            image_size=self.images.image_size,
            precision=self.group.precision,
            corruption=cell.corruption,
            severity=cell.severity,
            corruption_size=self.images.corruption_size,
            constants=self.images.constants(cell),
        )

    def _run_cell(self, cell: CorruptedSet, results: dict[str, Results]) -> bool:
        """Add a cell to the results of every classifier, and return whether the images had to be processed."""
        key, cache_dir = cell_key(self.identity(cell)), self.group.first.inputs.cache_dir
        store = ResultStore(cache_dir)
        missing: list[RunClassifier] = []
        for one in self.group.classifiers:
            run_id = one.run.info.run_id
            found = store.get(key, run_id)
            if found is None:
                missing.append(one)
            else:
                results[run_id][cell] = found
        if not missing:
            return False
        features = self._features(cell, key, FeatureStore(cache_dir))
        for one in missing:
            result = judge(one.head, features, self.images.split.labels)
            store.put(key, one.run.info.run_id, result)
            results[one.run.info.run_id][cell] = result
        return True

    def _features(self, cell: CorruptedSet, key: str, store: FeatureStore) -> NDArray[np.float32]:
        stored = store.get(key)
        if stored is not None:
            return np.asarray(stored.splits["test"].features)
        features = compute_features(
            self._form,
            self.images,
            cell,
            BACKBONES[self.group.first.config.backbone].n_features,
            batch_size=self.config.batch_size,
            num_workers=self.config.num_workers,
            preprocessing=self.group.first.inputs.preprocessing,
        )
        if self.config.store_features:
            with store.writer(key) as entry:
                np.save(entry.folder / "test.features.npy", features)
                entry.save("test", self.images.split.labels, self.images.split.item_ids)
                entry.meta = asdict(self.identity(cell))
        return features

    @cached_property
    def _form(self) -> InferenceForm:
        first = self.group.first
        backbone = build_backbone(first.config.backbone, first.inputs.weights)
        return inference_form(backbone, self.group.precision, pick_device(self.config.device))


def judge(head: HeadBase, features: NDArray[np.float32], labels: NDArray[np.int64]) -> SetResult:
    """Return a head's predictions for the features of a corrupted test set."""
    probabilities = head.predict_proba(features)
    return SetResult(
        probabilities.argmax(axis=1).astype(np.int32),
        probabilities.max(axis=1).astype(np.float32),
        expected_calibration_error(probabilities, labels),
    )
