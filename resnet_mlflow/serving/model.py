"""The form in which MLflow serves a classifier: its loader and its output.

``resnet_mlflow.serving`` is the ``loader_module`` of every packaged model. A serving host has only the model's
requirements and the copy of this package inside the model, nothing else of the project.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.classifier import Classifier, read_classifier
from resnet_mlflow.serving.requests import MAX_PIXELS, RequestError, damaged, read_groups, read_top_k
from resnet_mlflow.serving.requests import read_images as read_images
from resnet_mlflow.serving.server import guard_server
from resnet_mlflow.uncertainty.rules import Judged


class ServedClassifier:
    """The object that MLflow calls to predict: a table or pixels in, a table out.

    Args:
        classifier: The classifier that predicts.
        max_pixels: Maximum number of pixels of an image in a request, according to its header.
    """

    def __init__(self, classifier: Classifier, max_pixels: int = MAX_PIXELS) -> None:
        self.classifier = classifier
        self.max_pixels = max_pixels
        # Requests arrive in many threads. Each uses all cores, so two at a time would only double the memory.
        self._one_at_a_time = threading.Lock()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return ``label``, ``probability`` and ``scores`` (class name to probability, best first) per image.

        A classifier with rules also returns ``set``, ``answered`` and ``reason``.

        Args:
            model_input: A table whose column ``image`` holds the base64 text or the bytes of image files, or uint8
                pixels ``(n_images, height, width, 3)``. A column ``group`` names the group of each, for sets per group.
            params: ``top_k``: number of classes in ``scores``; 0 means all.

        Raises:
            RequestError: If the input breaks a rule.
        """
        try:
            top_k = read_top_k(params or {})
            images, groups = read_images(model_input, self.max_pixels), read_groups(model_input)
            with self._one_at_a_time:
                blocks = [
                    _answer(judged, self.classifier.class_names, top_k)
                    for _, judged in self.classifier.iterate(images, max_pixels=self.max_pixels, groups=groups)
                ]
        except BadImageError as error:
            raise RequestError(damaged(str(error.path), error.reason)) from None
        except InputError as error:
            raise RequestError(str(error)) from None
        return pd.concat(blocks, ignore_index=True) if len(blocks) > 1 else blocks[0]

    def get_raw_model(self) -> Classifier:
        """Return the classifier itself."""
        return self.classifier


def load_served_classifier(path: str, model_config: Mapping[str, Any] | None = None) -> ServedClassifier:
    """Return the model in a folder.

    Args:
        path: The folder.
        model_config: ``device`` (default ``auto``) and ``max_pixels`` (default 67 108 864).
    """
    guard_server()
    given = model_config or {}
    classifier = read_classifier(Path(path), given.get("device", "auto"))
    return ServedClassifier(classifier, int(given.get("max_pixels", MAX_PIXELS)))


def _answer(judged: Judged, class_names: Sequence[str], top_k: int) -> pd.DataFrame:
    scores = judged.probabilities
    n_shown = min(top_k or len(class_names), len(class_names))
    # Stable, so that ties go to the first class, as in evaluation.
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n_shown]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    return pd.DataFrame(
        {
            "label": [class_names[index] for index in judged.labels],
            "probability": judged.label_probabilities.astype(np.float64),
            "scores": [
                {class_names[index]: score for index, score in zip(row, values, strict=True)}
                for row, values in zip(order.tolist(), best.tolist(), strict=True)
            ],
            **_reservations(judged, class_names),
        }
    )


def _reservations(judged: Judged, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the fields that classifiers with rules add to an answer."""
    if judged.sets is None:
        return {}
    return {"set": judged.named_sets(class_names), "answered": judged.answered, "reason": judged.reasons.astype(object)}
