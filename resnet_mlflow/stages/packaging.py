"""A run's classifier as one servable model, checked against the run's logged predictions."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from PIL import Image

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.folds import pool_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.monitoring.reference import Reference, write_reference
from resnet_mlflow.registry.backbones import TIMM
from resnet_mlflow.serving.classifier import Description, read_classifier, write_classifier
from resnet_mlflow.serving.model import ServedClassifier
from resnet_mlflow.serving.requests import MAX_PIXELS
from resnet_mlflow.stages.classifiers import RunClassifier, precision_of
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import PackagedModel, Predictions, download_classifier, load_predictions, log_classifier
from resnet_mlflow.uncertainty.rules import Rules

EXAMPLE_SIDE = 64
# Scores this close may swap: bf16 keeps three digits, and another batch size changes the order of summation.
NEARLY_EQUAL = 0.01


def package(
    classifier: RunClassifier, dataset: ImageDataset, rules: Rules | None, reference: Reference | None = None
) -> PackagedModel:
    """Package a candidate's classifier, log it to the active run, and return the model.

    Args:
        classifier: The candidate's classifier.
        dataset: The dataset to test it on.
        rules: Rules for withholding an answer; None means that it always answers.
        reference: Held-out images for comparison with later ones; None if there are too few.

    Raises:
        InputError: If the package, loaded back, does not reproduce the predictions logged by the candidate's run.
    """
    candidate, config, inputs = classifier.run, classifier.config, classifier.inputs
    # A refit on all images has none left for testing: predictions on its validation images must agree.
    refitted = candidate.data.tags.get("stage") == "refit"
    logged = load_predictions(candidate.info.run_id, "val" if refitted else "test")
    tested = tested_images(pool_of(dataset) if refitted else dataset.splits["test"], logged)
    description = describe(classifier)
    with scratch_folder() as scratch:
        folder = scratch / "classifier"
        folder.mkdir()
        backbone = build_backbone(config.backbone, inputs.weights)
        write_classifier(folder, description, backbone, classifier.head, rules)
        if reference is not None:
            write_reference(folder, reference)
        metadata = {"run_id": candidate.info.run_id, "dataset_digest": dataset.digest}
        model_config = {"device": "auto", "max_pixels": MAX_PIXELS}
        requirements = ("timm",) if config.backbone.startswith(TIMM) else ()
        packaged = log_classifier(
            folder, _example(tested), metadata, model_config, requirements, with_rules=rules is not None
        )
    _check(packaged.model_id, candidate, logged, tested, classifier.config.batch_size)
    return packaged


def describe(classifier: RunClassifier) -> Description:
    """Return the description of a run's classifier."""
    inputs = classifier.inputs
    return Description(
        classifier.config.backbone,
        classifier.class_names,
        inputs.image_size,
        precision_of(classifier),
        inputs.identity.preprocessing,
    )


def _example(images: ImageSplit) -> bytes:
    """Return the first test image as a small PNG file."""
    image = Image.fromarray(images.read_image(0))
    image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _check(model_id: str, candidate: Run, logged: Predictions, images: ImageSplit, batch_size: int) -> None:
    with scratch_folder() as folder:
        classifier = read_classifier(download_classifier(f"models:/{model_id}", folder))
    # Images that training could read are not too large here.
    model = ServedClassifier(classifier, images.max_pixels)
    # Batches as in extraction, so that rounding is also the same.
    found = []
    with progress(len(images), "images", "checking the package") as bar:
        for batch in _requests(images, batch_size):
            found.append(model.predict(batch))
            bar.update(len(batch))
    answers = pd.concat(found)
    # The most probable class, which differs from the answer if costs of mistakes decide so.
    likeliest = np.array([next(iter(scores)) for scores in answers["scores"]], dtype=np.str_)
    n_wrong = _n_disagreements(logged, likeliest)
    if n_wrong:
        raise InputError(
            f"a packaged model must give the predictions of run {candidate.info.run_id}, got {n_wrong} of "
            f"{len(answers)} that differ; use the weights that it was fitted with, or fit it again on this machine"
        )


def tested_images(images: ImageSplit, logged: Predictions) -> ImageSplit:
    """Return the images that were predicted, in the same order: unreadable ones were not."""
    if len(images) == len(logged.item_ids):
        return images
    row_of = {item_id: row for row, item_id in enumerate(images.item_ids.tolist())}
    return images.select([row_of[item_id] for item_id in logged.item_ids.tolist()])


def _requests(images: ImageSplit, batch_size: int) -> Iterator[Any]:
    for start in range(0, len(images), batch_size):
        rows = range(start, min(start + batch_size, len(images)))
        if images.paths is None:
            yield np.stack([images.read_image(row) for row in rows])
        else:
            yield pd.DataFrame({"image": [images.paths[row].read_bytes() for row in rows]})


def _n_disagreements(logged: Predictions, again: np.ndarray[Any, Any]) -> int:
    """Return the number of predictions that differ from the logged ones, unless scores were nearly equal."""
    column = {name: index for index, name in enumerate(logged.class_names)}
    rows = np.flatnonzero(again != logged.predictions)
    gaps = [
        logged.scores[row, column[logged.predictions[row]]] - logged.scores[row, column[again[row]]] for row in rows
    ]
    return int(np.sum(np.array(gaps) > NEARLY_EQUAL))
