"""Which images are compared with those that a classifier was promoted on, and what a false alarm may cost."""

from typing import ClassVar

from pydantic import Field

from resnet_mlflow.config.base import Config
from resnet_mlflow.config.prediction import ClassifyConfig


class MonitorConfig(ClassifyConfig):
    """Tell whether images are still like those that a registered classifier was promoted on; exit code 3 if not."""

    after_stop: ClassVar[str] = "this look was not finished and does not count: run the same command again"

    source: str = Field(
        "images",
        min_length=1,
        description="Folder of images, a .csv or .parquet file that predict wrote, or a folder of such files.",
    )
    since: str = Field(
        "", description="Only files of source that were changed on this day or moment (ISO 8601, UTC) or later."
    )
    until: str = Field("", description="Only files of source that were changed before this day or moment.")
    images: str = Field(
        "",
        description="Folder that the paths of predictions start at, so that the images are compared, too; empty: the "
        "answers alone.",
    )
    max_images: int = Field(
        2000, ge=10, le=20_000, description="Most images of the batch that are looked at, drawn at random."
    )
    false_alarms: float = Field(
        0.05, gt=0, lt=1, description="Chance that any look at a version, however many there are, is a false alarm."
    )
    thumbnails: int = Field(24, ge=0, le=500, description="How many of the images that differ most the report shows.")


class PowerConfig(Config):
    """What is measured at promotion of how soon monitor will notice a change."""

    power_curve: bool = Field(
        False, description="Measure from how many images on monitor notices corruptions of held-out images."
    )
    power_corruptions: str = Field(
        "gaussian_noise,defocus_blur,fog,jpeg_compression",
        min_length=1,
        description="Which, as robustness has them; severities are 1, 3 and 5.",
    )
    power_images: int = Field(400, ge=20, le=100_000, description="Most held-out images that are corrupted.")
