"""Which images are compared with those that a classifier was promoted on, and the accepted rate of false alarms."""

from typing import ClassVar

from pydantic import Field

from resnet_mlflow.config.base import Config
from resnet_mlflow.config.prediction import ClassifyConfig


class MonitorConfig(ClassifyConfig):
    """Check whether images still resemble those that a registered classifier was promoted on; exit code 3 if not."""

    after_stop: ClassVar[str] = "this check was not finished and does not count: run the same command again"

    source: str = Field(
        "images",
        min_length=1,
        description="A folder of images, a .csv or .parquet file written by predict, or a folder of such files.",
    )
    since: str = Field(
        "", description="Use only files of source modified at or after this date or time (ISO 8601, UTC)."
    )
    until: str = Field("", description="Use only files of source modified before this date or time.")
    images: str = Field(
        "",
        description="Folder that the paths in the predictions are relative to, so that the images are compared as "
        "well; empty means that only the answers are compared.",
    )
    max_images: int = Field(
        2000, ge=10, le=20_000, description="Maximum number of images of the batch to check, drawn at random."
    )
    false_alarms: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Probability of at least one false alarm over all checks of a version, however many there are.",
    )
    thumbnails: int = Field(
        24, ge=0, le=500, description="Number of images in the report, those that differ most first."
    )


class PowerConfig(Config):
    """What promotion measures about how soon monitor will notice a change."""

    power_curve: bool = Field(
        False, description="Measure how many images monitor needs to notice corruptions of held-out images."
    )
    power_corruptions: str = Field(
        "gaussian_noise,defocus_blur,fog,jpeg_compression",
        min_length=1,
        description="Corruptions for the power curve, named as for robustness; severities are 1, 3 and 5.",
    )
    power_images: int = Field(
        400, ge=20, le=100_000, description="Maximum number of held-out images to corrupt for the power curve."
    )
