"""Which dataset is audited, and with which features."""

from typing import Literal

from pydantic import Field

from resnet_mlflow.config.data import FeatureConfig


class AuditConfig(FeatureConfig):
    """Find problems in a dataset: near-duplicates, wrong labels, faulty images, and shortcuts that reveal the label."""

    on_bad_image: Literal["fail", "skip"] = Field(
        "skip", description="What to do with an unreadable image: skip lists it as an issue, fail stops and names it."
    )
    thumbnails: int = Field(
        2000,
        ge=0,
        le=20_000,
        description="Number of issues that the page shows with images, the worst of each kind first.",
    )
