"""When a promoted classifier answers, its prediction sets, and the images it is tested on."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from resnet_mlflow.config.base import Config
from resnet_mlflow.registry.ood_scores import OOD_SCORES

if TYPE_CHECKING:
    OodScoreOrNone = str
else:
    OodScoreOrNone = Literal[(*OOD_SCORES, "none")]


class AnsweringConfig(Config):
    """When a classifier answers, and what comes with the answer."""

    calibrate: Literal["auto", "kept_aside", "cross_fit", "none"] = Field(
        "auto",
        description="Images on which the answering rules are calibrated; no choice was based on them. kept_aside: the "
        "calibration_fraction of the validation images. cross_fit: training images, scored by heads that were not "
        "fitted on them. auto: the first that is available. none: no rules.",
    )
    coverage: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Fraction of images whose true class must be in the prediction set that comes with each answer.",
    )
    sets_per: Literal["all", "class", "group"] = Field(
        "all", description="Whether coverage holds over all images, for each class, or for each group."
    )
    answer_error: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Largest acceptable fraction of wrong answers, such as 0.02; the classifier declines to answer "
        "for uncertain images. 0 means that every image is answered.",
    )
    costs: str = Field(
        "",
        description="YAML file with the cost of each answer by true class; the answer with the lowest expected cost "
        "is given. Empty means no costs.",
    )
    ood_score: OodScoreOrNone = Field(
        "knn",
        description="Score that detects images unlike the training images, for which the classifier declines to "
        "answer; none means no score.",
    )
    ood_keep: float = Field(
        0.95, gt=0, le=1, description="Fraction of the calibration images that the score's threshold accepts."
    )
    ood: str = Field(
        "",
        description="Other datasets, such as folder:/data/other,digits, on which all scores are tested; empty means "
        "none.",
    )
    ood_corruptions: str = Field(
        "", description="Corruptions, named as for robustness, on which all scores are tested; empty means none."
    )
    ood_severity: int = Field(5, ge=1, le=5, description="Severity of ood_corruptions.")
    ood_images: int = Field(
        1000,
        ge=20,
        le=100_000,
        description="Maximum number of images from each of these datasets and corruptions, and from the test split.",
    )
