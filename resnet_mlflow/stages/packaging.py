"""A run's classifier as one servable model, checked against what the run had logged."""

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
# Scores this near may change places: bf16 keeps three digits, and another batch size adds in another order.
NEARLY_EQUAL = 0.01


def package(
    classifier: RunClassifier, dataset: ImageDataset, rules: Rules | None, reference: Reference | None = None
) -> PackagedModel:
    """Return the model, logged to the active run, that a candidate's classifier was packaged as.

    Args:
        classifier: The candidate's.
        dataset: What it is tested on.
        rules: When it should not answer; None: it always does.
        reference: Held-out images that later ones are compared with; None: there are too few.

    Raises:
        InputError: If the package, loaded back, does not give the predictions that the candidate's run logged.
    """
    candidate, config, inputs = classifier.run, classifier.config, classifier.inputs
    # A refit on all images has none left to test on: what it validated on must be predicted alike.
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
    """Return what a run's classifier is beside its weights."""
    inputs, precision = classifier.inputs, "bf16" if precision_of(classifier) == "bf16" else "fp32"
    return Description(
        classifier.config.backbone,
        classifier.class_names,
        inputs.image_size,
        precision,
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
    # What training could read is not too large here.
    model = ServedClassifier(classifier, images.max_pixels)
    # Batches as in extraction, so that rounding is the same too.
    found = []
    with progress(len(images), "images", "checking the package") as bar:
        for batch in _requests(images, batch_size):
            found.append(model.predict(batch))
            bar.update(len(batch))
    answers = pd.concat(found)
    # The most probable class, which costs of mistakes may keep from being the answer.
    likeliest = np.array([next(iter(scores)) for scores in answers["scores"]], dtype=np.str_)
    n_wrong = _n_disagreements(logged, likeliest)
    if n_wrong:
        raise InputError(
            f"a packaged model must give the predictions of run {candidate.info.run_id}, got {n_wrong} of "
            f"{len(answers)} that differ; use the weights that it was fitted with, or fit it again on this machine"
        )


def tested_images(images: ImageSplit, logged: Predictions) -> ImageSplit:
    """Return the images that were predicted, in that order: unreadable ones were not."""
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
    """Return how many predictions are others than those logged, where the scores were not nearly equal."""
    column = {name: index for index, name in enumerate(logged.class_names)}
    rows = np.flatnonzero(again != logged.predictions)
    gaps = [
        logged.scores[row, column[logged.predictions[row]]] - logged.scores[row, column[again[row]]] for row in rows
    ]
    return int(np.sum(np.array(gaps) > NEARLY_EQUAL))
