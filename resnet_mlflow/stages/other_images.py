"""Images that a classifier is not intended for, and how well each score detects them."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import DatasetConfig, PromoteConfig
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, content_id
from resnet_mlflow.data.decoding import BadImageError, read_content
from resnet_mlflow.data.folder import find_images
from resnet_mlflow.devices import pick_device
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.paths import user_path
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.ood_scores import OOD_SCORES
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet, build_cells, parse_corruptions, sample_rows
from resnet_mlflow.robustness.sweep import ImagesUnderTest, choose_images, compute_features, readable_rows
from resnet_mlflow.stages.calibration import fitted_splits
from resnet_mlflow.stages.classifiers import RunClassifier, precision_of
from resnet_mlflow.stages.preparation import prepare_dataset
from resnet_mlflow.tracking import StageRun
from resnet_mlflow.uncertainty.detection import Detection, detect
from resnet_mlflow.uncertainty.unlike import fit_score, score_images

logger = logging.getLogger(__name__)

FOLDER_KIND = "folder:"
# Batches of another size round differently, which may affect a few images in a thousand.
ROUNDING = 0.01
Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Others:
    """Images for testing scores.

    Attributes:
        splits: Other images by source.
        cells: Corruptions of the classifier's own test images.
    """

    splits: Mapping[str, ImageSplit]
    cells: tuple[CorruptedSet, ...]

    def __bool__(self) -> bool:
        return bool(self.splits or self.cells)


def find_others(config: PromoteConfig, dataset: ImageDataset, *, is_divided: bool = False) -> Others:
    """Return the images named by a configuration, at most ``ood_images`` of each source.

    Args:
        config: Names the images.
        dataset: The classifier's own dataset.
        is_divided: Whether the candidate is a cross-validation, whose classifier trains on all evaluated images.

    Raises:
        InputError: If there are none, some are images of the dataset itself, or the dataset has no test split left.
    """
    if is_divided and dataset.test_is_drawn and (config.ood or config.ood_corruptions):
        raise InputError(
            f"ood needs test images to compare with, got a cross-validation on all of {dataset.name}; promote a run "
            f"on a fixed split, or leave ood and ood_corruptions empty"
        )
    known = np.concatenate([split.item_ids for split in dataset.splits.values()])
    splits: dict[str, ImageSplit] = {}
    for name in filter(None, (part.strip() for part in config.ood.split(","))):
        short, split = _other(name, config)
        shared = int(np.isin(split.item_ids, known).sum())
        if shared:
            raise InputError(
                f"ood must contain no images of {dataset.name}, got {shared} of {len(split)} images of {name} that it "
                f"also contains; pass other images"
            )
        splits[short if short not in splits else f"{short}-{len(splits)}"] = split
    cells: tuple[CorruptedSet, ...] = ()
    if config.ood_corruptions:
        cells = build_cells(parse_corruptions(config.ood_corruptions), (config.ood_severity,))
    return Others(splits, cells)


def _other(name: str, config: PromoteConfig) -> tuple[str, ImageSplit]:
    if name.startswith(FOLDER_KIND):
        # Any folder: the names of its images do not matter.
        folder = user_path(name.removeprefix(FOLDER_KIND), "ood")
        return folder.name or folder.resolve().name, _images_of(folder, config)
    plain = {one: DatasetConfig.model_fields[one].default for one in ("group_by", "corrections", "duplicates")}
    other = config.model_copy(update={**plain, "dataset": name, "crossing_groups": "keep"})
    found = prepare_dataset(other, default_cache_dir(config.cache_dir))
    return found.short_name, _sample(found.splits["test"], config.ood_images)


def _images_of(folder: Path, config: PromoteConfig) -> ImageSplit:
    paths = find_images(folder)
    kept = [paths[row] for row in sample_rows(np.zeros(len(paths), np.int64), config.ood_images, 0)]
    ids = [_id_of(path, config.max_pixels) for path in kept]
    split = ImageSplit(
        np.zeros(len(kept), np.int64), np.array(ids, dtype="<U32"), paths=tuple(kept), max_pixels=config.max_pixels
    )
    return split.select(readable_rows(split, -1)) if config.on_bad_image == "skip" else split


def _id_of(path: Path, max_pixels: int) -> str:
    try:
        return content_id(read_content(path, max_pixels))
    except BadImageError:
        return ""  # decoding reports the problem, or skips it


def _sample(split: ImageSplit, n_images: int) -> ImageSplit:
    return split.select(sample_rows(split.labels, n_images, 0))


def try_on_others(
    run: StageRun, config: PromoteConfig, classifier: RunClassifier, others: Others
) -> dict[str, dict[str, Detection]]:
    """Return how well each score separates other images from the classifier's test images, by source and score.

    First, the accuracy on the test images is computed again and must equal the logged one: scores of differently
    preprocessed images would be meaningless.

    Args:
        run: Run of the promotion, for the figures.
        config: Number of images.
        classifier: The candidate's classifier.
        others: Images to test on.

    Raises:
        InputError: If the accuracies differ, or an image cannot be decoded.
    """
    tested = _Tested.of(config, classifier)
    own = tested.features(tested.images, CLEAN)
    run.log_metrics({"ood/clean_accuracy": tested.checked_accuracy(own)})
    splits = fitted_splits(classifier)
    arrays = {name: fit_score(name, splits["train"].features, splits["train"].labels) for name in OOD_SCORES}
    found: dict[str, dict[str, Detection]] = {}
    for source, features in tested.each(others):
        found[source] = {
            name: detect(tested.scores(name, kept, own), tested.scores(name, kept, features))
            for name, kept in arrays.items()
        }
        _log(run, source, found[source])
    return found


@dataclass(frozen=True, eq=False)
class _Tested:
    """A classifier applied to images.

    Attributes:
        config: Number of images.
        classifier: The candidate's classifier.
        images: Images of its test split.
        form: Its backbone.
    """

    config: PromoteConfig
    classifier: RunClassifier
    images: ImageSplit
    form: InferenceForm

    @classmethod
    def of(cls, config: PromoteConfig, classifier: RunClassifier) -> "_Tested":
        inputs = classifier.inputs
        images = inputs.dataset.splits["test"]
        if classifier.config.on_bad_image == "skip":
            images = images.select(readable_rows(images, -1))
        backbone = build_backbone(classifier.config.backbone, inputs.weights)
        form = inference_form(backbone, precision_of(classifier), pick_device(classifier.config.device))
        return cls(config, classifier, _sample(images, config.ood_images), form)

    def features(self, split: ImageSplit, cell: CorruptedSet) -> Features:
        """Return the features of images under a corruption, ``(n_images, n_features)``."""
        inputs, own = self.classifier.inputs, self.classifier.config
        clean = ImagesUnderTest(split, inputs.image_size, 0, ())
        return compute_features(
            self.form,
            clean if cell == CLEAN else choose_images(split, inputs.image_size, 0),
            cell,
            BACKBONES[own.backbone].n_features,
            batch_size=own.batch_size,
            num_workers=own.num_workers,
            preprocessing=inputs.preprocessing,
        )

    def each(self, others: Others) -> Iterator[tuple[str, Features]]:
        """Yield each source's name and features."""
        for source, split in others.splits.items():
            yield source, self.features(split, CLEAN)
        for cell in others.cells:
            yield str(cell).replace(" ", "_"), self.features(self.images, cell)

    def scores(self, name: str, arrays: dict[str, Features], features: Features) -> NDArray[np.floating]:
        """Return a score of images."""
        return score_images(name, arrays, features, self.classifier.head.logits(features))

    def checked_accuracy(self, features: Features) -> float:
        """Return the accuracy on clean test images; it must equal the one logged by the run."""
        right = self.classifier.head.predict(features) == self.images.labels
        logged = self.classifier.run.data.metrics.get("test/accuracy")
        whole = len(self.images) == self.classifier.inputs.dataset.splits["test"].labels.size
        if logged is not None and whole and abs(right.mean() - logged) > ROUNDING:
            raise InputError(
                f"test images must be classified as in run {self.classifier.run.info.run_id}, accuracy {logged:.4f}, "
                f"got {right.mean():.4f}; fit it again on this machine"
            )
        return float(right.mean())


def _log(run: StageRun, source: str, found: Mapping[str, Detection]) -> None:
    for name, one in found.items():
        metrics: dict[str, float] = {}
        for measure in ("auroc", "fpr95"):
            low, high = getattr(one, f"{measure}_interval")
            key = f"ood/{source}/{name}/{measure}"
            metrics |= {key: getattr(one, measure), f"{key}_ci_low": low, f"{key}_ci_high": high}
        run.log_metrics(metrics | {f"ood/{source}/{name}/n_images": float(one.n_other)})
    text = ", ".join(f"{name} {one.auroc:.3f}" for name, one in found.items())
    logger.info("separation from test images (AUROC), %s: %s", source, text)
