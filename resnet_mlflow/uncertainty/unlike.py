"""Which images are unlike those of training: a score and the threshold that keeps most calibration images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_mlflow.registry import load
from resnet_mlflow.registry.ood_scores import OOD_SCORES

Floats = NDArray[np.floating[Any]]
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class UnlikeRule:
    """The score above which an image is unlike the training images.

    Attributes:
        score: Name of a row of ``OOD_SCORES``.
        keep: Share of calibration images that are kept.
        threshold: Images with a higher score are unlike.
    """

    score: str
    keep: Annotated[float, Field(gt=0, le=1)]
    threshold: float

    def flags(self, arrays: Arrays, features: Floats, logits: Floats) -> NDArray[np.bool_]:
        """Return which images are unlike those of training, ``(n_images,)``."""
        return np.asarray(score_images(self.score, arrays, features, logits) > self.threshold)


def fit_score(name: str, features: Floats, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return a score's fitted state from the training images, by name."""
    row = OOD_SCORES.find(name)
    return dict(load(row.fit)(features, labels)) if row.fit else {}


def score_images(name: str, arrays: Arrays, features: Floats, logits: Floats) -> Floats:
    """Return a score of each image, ``(n_images,)``; higher means less like the training images.

    Args:
        name: Name of a row of ``OOD_SCORES``.
        arrays: Result of ``fit_score``.
        features: ``(n_images, n_features)``.
        logits: ``(n_images, n_classes)``.
    """
    found: Floats = load(OOD_SCORES.find(name).score)(arrays, features, logits)
    return found


def fit_unlike(name: str, scores: Floats, keep: float) -> UnlikeRule:
    """Return the rule with the threshold that keeps a share of the calibration images.

    Args:
        name: Name of the score.
        scores: Scores of calibration images, which were not used to fit the score, ``(n_images,)``.
        keep: Share to keep, in (0, 1].
    """
    return UnlikeRule(name, keep, float(np.quantile(scores, keep, method="higher")))
