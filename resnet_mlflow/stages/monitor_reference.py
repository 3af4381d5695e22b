"""What a promotion provides for monitoring: a reference of held-out images, and how soon changes are detected."""

import logging
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.config import PowerConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import CALIBRATION, FeatureSplit, joined_features
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.monitoring.changes import Pool
from resnet_mlflow.monitoring.kernel import fit_space
from resnet_mlflow.monitoring.observed import PICTURES, Meter, Observed, measure_pictures, observe
from resnet_mlflow.monitoring.power import Curve, batch_sizes, count_false_alarms, measure_curve, power_as_json
from resnet_mlflow.monitoring.reference import FEWEST_IMAGES, MOST_IMAGES, Reference, read_reference
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet, build_cells, parse_corruptions, sample_rows
from resnet_mlflow.robustness.sweep import ImagesUnderTest, choose_images, readable_rows
from resnet_mlflow.serving.classifier import Classifier, read_classifier
from resnet_mlflow.serving.looks import level_of_alarm
from resnet_mlflow.stages.calibration import N_PICTURES, fitted_splits, inputs_as_fitted, one_of_each_group
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.stages.network_runs import image_partition
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import StageRun, download_classifier
from resnet_mlflow.uncertainty.rules import Rules

logger = logging.getLogger(__name__)

POWER_FILE, POWER_TAG = "power_curve.json", "power_curve"
SEVERITIES = (1, 3, 5)
FALSE_ALARMS = 0.05
_HELD_OUT = ("val", CALIBRATION)


def make_reference(classifier: RunClassifier, rules: Rules | None) -> Reference | None:
    """Return the reference for later images: validation images and those set aside, one of each group.

    Head and network were not fitted on them, so their features and confidences resemble those of new images.

    Args:
        classifier: The candidate's classifier.
        rules: Rules for withholding an answer; None means that it always answers.

    Returns:
        None if there are too few images; the reason is logged.
    """
    splits = fitted_splits(classifier)
    held_out = joined_features([splits[name] for name in _HELD_OUT if name in splits])
    rows = one_of_each_group(held_out.groups)
    items = held_out.select(rows[sample_rows(held_out.labels[rows], MOST_IMAGES, 0)])
    if len(items) < FEWEST_IMAGES:
        logger.info("no reference for monitor: %d held-out images, %d needed", len(items), FEWEST_IMAGES)
        return None
    space = fit_space(np.asarray(splits["train"].features))
    images = observe(classifier.head, rules, items.features, space, _pictures_of(classifier, items))
    return Reference(images, space, classifier.class_names)


def _pictures_of(classifier: RunClassifier, items: FeatureSplit) -> NDArray[np.float32]:
    """Return picture measurements of some of the items, ``(n_items, 3)``; NaN for the others."""
    partition = image_partition(classifier.config, inputs_as_fitted(classifier))
    place = {
        item_id: (name, row)
        for name in _HELD_OUT
        if name in partition
        for row, item_id in enumerate(partition[name].item_ids.tolist())
    }
    measured = np.full((len(items), len(PICTURES)), np.nan, dtype=np.float32)
    for row in sample_rows(items.labels, N_PICTURES, 0).tolist():
        name, own = place[str(items.item_ids[row])]
        with suppress(BadImageError):  # its run has left it out, or has failed
            measured[row] = measure_pictures(partition[name].read_image(own)[None])[0]
    return measured


class NoReferenceError(InputError):
    """A model was packaged without anything to compare images with."""


def load_monitored(uri: str, device: str = "auto") -> tuple[Classifier, Reference]:
    """Return a promoted classifier, and the reference that it was packaged with.

    Args:
        uri: Address of the model.
        device: Device of its network.

    Raises:
        NoReferenceError: If it has no reference.
    """
    with scratch_folder() as folder:
        downloaded = download_classifier(uri, folder)
        classifier = read_classifier(downloaded, device)
        n_features = BACKBONES[classifier.description.backbone].n_features
        reference = read_reference(downloaded, classifier.class_names, n_features)
    if reference is None:
        raise NoReferenceError(
            f"a model must have a reference of at least {FEWEST_IMAGES} held-out images to be monitored, got none in "
            f"{uri}, which was packaged by an earlier version or had too few images; promote it again"
        )
    return classifier, reference


def corrupted_sets(config: PowerConfig) -> tuple[CorruptedSet, ...]:
    """Return the corruptions with requested power curves.

    Raises:
        InputError: If one of them is unknown.
    """
    return build_cells(parse_corruptions(config.power_corruptions), SEVERITIES) if config.power_curve else ()


def measure_power(run: StageRun, config: PowerConfig, classifier: RunClassifier, uri: str) -> str:
    """Return a sentence on how soon monitoring detects corruptions of test images, and log the details to the run.

    Args:
        run: Run of the promotion.
        config: Corruptions, and number of images.
        classifier: The candidate's classifier.
        uri: Address of its packaged model.

    Returns:
        An empty text if there are too few test images, or no reference; the reason is logged.

    Raises:
        InputError: If a corruption is unknown, or the images are too small for it.
    """
    images = _test_images(config, classifier)
    if not batch_sizes(len(images)):
        logger.info("no power curve: %d test images are too few for batches", len(images))
        return ""
    try:
        packaged, reference = load_monitored(uri)
    except NoReferenceError as error:
        logger.info("no power curve: %s", error)
        return ""
    tested, level = _Tested(classifier, packaged, reference, images), level_of_alarm(1, FALSE_ALARMS)
    alarms = count_false_alarms(tested.pool(CLEAN), level)
    cells, curves = corrupted_sets(config), list[Curve]()
    with progress(len(cells), "corruptions", "power of monitor") as bar:
        for cell in cells:
            curves.append(measure_curve(*cell, tested.pool(cell), level))
            bar.update()
    found = power_as_json(curves, alarms, level)
    run.log_json(found, POWER_FILE)
    run.log_metrics({"power/false_alarms": alarms.alarms / alarms.batches})
    run.log_metrics({f"power/{one.corruption}_{one.severity}": one.noticed_from for one in curves if one.noticed_from})
    return str(found["sentence"])


def _test_images(config: PowerConfig, classifier: RunClassifier) -> ImageSplit:
    images = classifier.inputs.dataset.splits["test"]
    if classifier.run.data.tags.get("stage") == "refit" and classifier.inputs.dataset.test_is_drawn:
        return images.select(np.zeros(0, np.int64))  # it was fitted on them
    if classifier.config.on_bad_image == "skip":
        images = images.select(readable_rows(images, -1))
    images = images.select(one_of_each_group(images.groups))
    return images.select(sample_rows(images.labels, config.power_images, 0))


class _Tested:
    """A classifier applied to its test images.

    Args:
        classifier: The candidate's classifier, which knows how to read images.
        packaged: The same classifier as registered.
        reference: Reference of its held-out images.
        images: Images of its test split.
    """

    def __init__(
        self, classifier: RunClassifier, packaged: Classifier, reference: Reference, images: ImageSplit
    ) -> None:
        self._own, self._packaged, self._reference = classifier.config, packaged, reference
        size = classifier.inputs.image_size
        self._clean, self._corrupted = ImagesUnderTest(images, size, 0, ()), choose_images(images, size, 0)

    def pool(self, cell: CorruptedSet) -> Pool:
        """Return the images under a corruption, with the reference."""
        return Pool(self._reference, self._observed(self._clean if cell == CLEAN else self._corrupted, cell))

    def _observed(self, images: ImagesUnderTest, cell: CorruptedSet) -> Observed:
        meter = Meter(len(images.split), images.corrupting(cell))
        features = np.empty((len(images.split), len(self._reference.space.center)), dtype=np.float32)
        blocks = self._packaged.features_of(
            images.split, batch_size=self._own.batch_size, num_workers=self._own.num_workers, change=meter
        )
        for rows, block in blocks:
            features[rows] = block
        return observe(self._packaged.head, self._packaged.rules, features, self._reference.space, meter.pictures)
