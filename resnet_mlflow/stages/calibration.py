"""Rules for when a candidate's classifier should not answer, calibrated on images that were not used for any choice."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from resnet_mlflow.config import AnsweringConfig, FitHeadConfig
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.folds import draw_folds
from resnet_mlflow.data.splits import draw_shots
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import CALIBRATION, FeatureSplit, joined_features
from resnet_mlflow.files.paths import user_path
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.robustness.selection import sample_rows
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.stages.division import partition_of
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.network_runs import image_partition
from resnet_mlflow.stages.preparation import Inputs, digest_of
from resnet_mlflow.stages.refits import refit_part
from resnet_mlflow.uncertainty.answering import Confidences, check_enough_to_answer, fit_answering
from resnet_mlflow.uncertainty.conformal import check_enough_for_sets, fit_sets
from resnet_mlflow.uncertainty.costs import Costs, cheapest, read_costs
from resnet_mlflow.uncertainty.pictures import fit_limits, measure_light
from resnet_mlflow.uncertainty.rules import Rules, Source
from resnet_mlflow.uncertainty.unlike import fit_score, fit_unlike, score_images

logger = logging.getLogger(__name__)

# A cross-fitted head sees four fifths of the images that the classifier's own head saw.
N_FOLDS = 5
# Beyond this many calibration images guarantees gain little; in large datasets, one or two folds have as many.
ENOUGH_IMAGES = 5000
# Number of pictures used for limits of brightness.
N_PICTURES = 500
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images that were not used for any choice, with predictions by classifiers that were not fitted on them.

    Attributes:
        items: Features and labels of the images.
        probabilities: ``(n_images, n_classes)``.
        confidences: Confidences in the labels that would be answered.
        unlikeness: How much each image differs from the training images, ``(n_images,)``; zeros without a score.
    """

    items: FeatureSplit
    probabilities: Floats
    confidences: Confidences
    unlikeness: Floats

    @property
    def independent(self) -> NDArray[np.int64]:
        """Return rows with one image of each group, sorted."""
        return one_of_each_group(self.items.groups)


def one_of_each_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows with one image of each group, sorted: more images of a group are no evidence on other groups."""
    order = np.random.default_rng(0).permutation(len(groups))
    return np.sort(order[np.unique(groups[order], return_index=True)[1]])


def what_is_asked(config: AnsweringConfig, dataset: ImageDataset) -> str:
    """Return a configuration's requirements on answers, as the text of a version's tag; the costs file is read.

    Raises:
        InputError: If the costs are invalid.
    """
    names = [name for name in AnsweringConfig.model_fields if not name.startswith("ood") or name in _PACKAGED]
    asked = {name: getattr(config, name) for name in names}
    costs = _costs(config, dataset)
    # A tag holds 8000 characters, but a matrix for 100 classes needs more.
    asked |= {"costs": "" if costs is None else digest_of({"costs": costs.tolist()})}
    # Packages from before monitoring references existed are created again.
    return json.dumps(asked | {"reference": True})


_PACKAGED = ("ood_score", "ood_keep")


def _costs(config: AnsweringConfig, dataset: ImageDataset) -> Costs | None:
    return read_costs(user_path(config.costs, "costs"), dataset.class_names) if config.costs else None


def check_calibration(config: AnsweringConfig, classifier: RunClassifier) -> Source | None:
    """Return the source of calibration images, or None if there are to be no guarantees.

    Default guarantees that are not possible are omitted, and the reason is logged.

    Raises:
        InputError: If there are no or too few images for requested guarantees; the message gives the number needed.
    """
    try:
        source = _source(config, classifier)
        _check_enough(config, classifier, source)
        return source
    except InputError as error:
        asked = [f"{name}={value}" for name, value in _given(config).items()]
        if asked:
            raise InputError(f"{', '.join(asked)} needs images that no choice was based on: {error}") from None
        logger.info("no answering rules: %s", error)
        return None


def _given(config: AnsweringConfig) -> dict[str, object]:
    """Return the requested guarantees beyond the default ones."""
    names = ("answer_error", "costs", "sets_per", "coverage", "calibrate")
    given = {name: getattr(config, name) for name in names}
    return {
        name: value
        for name, value in given.items()
        if value != AnsweringConfig.model_fields[name].default and value != "none"
    }


def _source(config: AnsweringConfig, classifier: RunClassifier) -> Source:
    own, is_head = classifier.config, isinstance(classifier.config, FitHeadConfig)
    if config.calibrate == "none":
        raise InputError("calibrate is none; pass calibrate=auto")
    if config.calibrate == "cross_fit" or (config.calibrate == "auto" and is_head and not own.calibration_fraction):
        if is_head:
            return "cross_fit"
        raise InputError("cross_fit is for heads on frozen features only; train it with calibration_fraction=0.5")
    if own.calibration_fraction:
        return "kept_aside"
    raise InputError(
        f"run {classifier.run.info.run_id} set no images aside; fit it with calibration_fraction=0.5"
        + (", or pass calibrate=cross_fit" if is_head else "")
    )


def _check_enough(config: AnsweringConfig, classifier: RunClassifier, source: Source) -> None:
    own, names = classifier.config, classifier.class_names
    splits = image_partition(own, inputs_as_fitted(classifier))
    images = splits["train" if source == "cross_fit" else CALIBRATION]
    if source == "cross_fit":
        shots = getattr(own, "shots", 0)
        if shots:
            images = images.select(draw_shots(images.labels, shots, own.seed, names, images.groups))
        _draw_folds(images.labels, images.groups, own.seed, names)
    n_images = len(np.unique(images.groups))
    check_enough_for_sets(n_images, config.coverage)
    if config.answer_error:
        check_enough_to_answer(n_images, config.answer_error)


def _draw_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int, class_names: Sequence[str]
) -> NDArray[np.int64]:
    """Return the fold of each image: as many folds as the smallest class has groups, at most ``N_FOLDS``."""
    pairs = np.unique(np.column_stack([labels, groups]), axis=0)
    n_folds = int(np.bincount(pairs[:, 0], minlength=len(class_names)).min())
    return draw_folds(labels, max(2, min(N_FOLDS, n_folds)), seed, class_names, groups)


def fit_rules(
    config: AnsweringConfig, classifier: RunClassifier, source: Source
) -> tuple[Rules, dict[str, FeatureSplit]]:
    """Return the rules of a classifier, and the features of ``fitted_splits``.

    Args:
        config: Requirements on answers.
        classifier: The candidate's classifier.
        source: Source of calibration images, see ``check_calibration``.

    Raises:
        InputError: If there are too few images, or the classifier is too poor for the requirements.
    """
    inputs, own = inputs_as_fitted(classifier), classifier.config
    splits = fitted_splits(classifier)
    work = _Work(config, classifier, splits, _costs(config, inputs.dataset))
    calibration = work.cross_fitted() if source == "cross_fit" else work.kept_aside()
    logger.info("calibrated on %d images (%s)", len(calibration.items), source.replace("_", " "))
    limits = fit_limits(_light(image_partition(own, inputs)["train"], own.seed))
    return replace(work.rules(source, calibration), limits=limits, arrays=work.kept_of(splits["train"])), splits


def fitted_splits(classifier: RunClassifier) -> dict[str, FeatureSplit]:
    """Return the features used to fit, validate and test a classifier, by split."""
    own = classifier.config
    return partition_of(own, ensure_features(own, inputs_as_fitted(classifier)), getattr(own, "shots", 0))


def inputs_as_fitted(classifier: RunClassifier) -> Inputs:
    """Return the inputs of a classifier with the splits that it was fitted on: in a refit, all are for training."""
    is_refit = classifier.run.data.tags.get("stage") == "refit"
    return refit_part(classifier.inputs, {}) if is_refit else classifier.inputs


def group_names_of(dataset: ImageDataset, items: FeatureSplit) -> list[str]:
    """Return the shared value of each item's group, if the dataset has it; otherwise an empty list."""
    return [dataset.group_names[number] for number in items.groups] if any(dataset.group_names) else []


@dataclass(frozen=True, eq=False)
class _Work:
    """Data for calibrating a classifier."""

    config: AnsweringConfig
    classifier: RunClassifier
    splits: dict[str, FeatureSplit]
    costs: Costs | None

    def rules(self, source: Source, found: Calibration) -> Rules:
        config, dataset, rows = self.config, self.classifier.inputs.dataset, found.independent
        groups, names = group_names_of(dataset, found.items), dataset.class_names
        labels = found.items.labels
        sets = fit_sets(found.probabilities, labels, config.coverage, config.sets_per, names, groups, rows)
        costs = () if self.costs is None else tuple(map(tuple, self.costs.tolist()))
        rules = Rules(source, sets, costs=costs)
        if config.ood_score != "none":
            rules = replace(rules, unlike=fit_unlike(config.ood_score, found.unlikeness[rows], config.ood_keep))
        if not config.answer_error:
            return rules
        # The image with the threshold as its score is not a draw from those below it.
        like = rows if rules.unlike is None else rows[found.unlikeness[rows] < rules.unlike.threshold]
        others = self.confidences(self.classifier.head, self.splits["val"])
        answering = fit_answering(found.confidences.select(like), others, config.answer_error)
        return replace(rules, answering=replace(answering, n_images=len(rows)))

    def kept_aside(self) -> Calibration:
        return self.say(self.classifier.head, self.splits["train"], self.splits[CALIBRATION])

    def cross_fitted(self) -> Calibration:
        parts = list(self.fold_by_fold())
        wrong, values = (np.concatenate([getattr(part.confidences, name) for part in parts]) for name in _CONFIDENCES)
        return Calibration(
            joined_features([part.items for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            Confidences(values, wrong),
            np.concatenate([part.unlikeness for part in parts]),
        )

    def fold_by_fold(self) -> Iterator[Calibration]:
        """Yield heads' predictions for held-out training images, until there are enough."""
        train, val, own = self.splits["train"], self.splits["val"], self.classifier.config
        fold_of = _draw_folds(train.labels, train.groups, own.seed, self.classifier.class_names)
        n_images = 0
        for fold in range(int(fold_of.max()) + 1):
            rest, held_out = (train.select(np.flatnonzero(rows)) for rows in (fold_of != fold, fold_of == fold))
            head = clone(self.classifier.head).fit(rest.features, rest.labels, val.features, val.labels)
            if getattr(own, "calibration", "none") == "temperature":
                head.calibrate(val.features, val.labels)
            yield self.say(head, rest, held_out)
            n_images += len(held_out)
            if n_images >= ENOUGH_IMAGES:
                return

    def say(self, head: HeadBase, train: FeatureSplit, items: FeatureSplit) -> Calibration:
        """Return the predictions and scores for other images from a head and a score fitted on the training images."""
        unlikeness: Floats = np.zeros(len(items))
        if self.config.ood_score != "none":
            arrays = self.kept_of(train)
            unlikeness = score_images(self.config.ood_score, arrays, items.features, head.logits(items.features))
        return Calibration(items, head.predict_proba(items.features), self.confidences(head, items), unlikeness)

    def confidences(self, head: HeadBase, items: FeatureSplit) -> Confidences:
        answers = cheapest(head.predict_proba(items.features), self.costs)
        return Confidences.of(head.logits_and_leads(items.features)[1], answers, items.labels)

    def kept_of(self, train: FeatureSplit) -> dict[str, NDArray[np.float32]]:
        return {} if self.config.ood_score == "none" else fit_score(self.config.ood_score, train.features, train.labels)


_CONFIDENCES = ("wrong", "values")


def _light(images: ImageSplit, seed: int) -> NDArray[np.float32]:
    measured = []
    for row in sample_rows(images.labels, N_PICTURES, seed):
        with suppress(BadImageError):  # its run has left it out, or has failed
            measured.append(measure_light(images.read_image(int(row))[None]))
    return np.concatenate(measured)
