"""Which dataset is audited, and by which features."""

from typing import Literal

from pydantic import Field

from resnet_mlflow.config.data import FeatureConfig


class AuditConfig(FeatureConfig):
    """Look for what is wrong with a dataset: twins, labels, pictures, and cues that give labels away."""

    on_bad_image: Literal["fail", "skip"] = Field(
        "skip", description="What happens on an unreadable image: skip lists it as an issue, fail stops and names it."
    )
    thumbnails: int = Field(
        2000, ge=0, le=20_000, description="How many issues the page shows with pictures, the worst of each kind first."
    )
