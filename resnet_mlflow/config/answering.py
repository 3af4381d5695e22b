"""When a promoted classifier answers, what is in its sets, and what it is tried against."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from resnet_mlflow.config.base import Config
from resnet_mlflow.registry.ood_scores import OOD_SCORES

if TYPE_CHECKING:
    OodScoreOrNone = str
else:
    OodScoreOrNone = Literal[(*OOD_SCORES, "none")]


class AnsweringConfig(Config):
    """When a classifier answers, and what it says beside its answer."""

    calibrate: Literal["auto", "kept_aside", "cross_fit", "none"] = Field(
        "auto",
        description="Images that promises rest on, which selected nothing: kept_aside, the calibration_fraction of "
        "validation; cross_fit, training images, by heads that did not see them; auto: the first that there is; none: "
        "no promises.",
    )
    coverage: float = Field(
        0.9, gt=0, lt=1, description="Share of images whose class is to be in the set that answers carry."
    )
    sets_per: Literal["all", "class", "group"] = Field(
        "all", description="Whether that share holds over all images, of each class, or of each group."
    )
    answer_error: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of answers that may be wrong, such as 0.02: unsure images are not answered; 0 means any.",
    )
    costs: str = Field(
        "", description="YAML file of what each answer costs by true class; the cheapest is given. Empty: no costs."
    )
    ood_score: OodScoreOrNone = Field(
        "knn", description="Score by which images unlike those of training are known, and not answered; none: no score."
    )
    ood_keep: float = Field(
        0.95, gt=0, le=1, description="Share of calibration images that the score's threshold keeps."
    )
    ood: str = Field(
        "",
        description="Other datasets, such as folder:/data/other,digits, that all scores are tried on; empty: none.",
    )
    ood_corruptions: str = Field(
        "", description="Corruptions, as robustness has them, that all scores are tried on; empty means none."
    )
    ood_severity: int = Field(5, ge=1, le=5, description="Severity of these corruptions.")
    ood_images: int = Field(
        1000, ge=20, le=100_000, description="Most images of each of these, and of the test split beside them."
    )
