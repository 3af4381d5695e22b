"""What all configuration models share: names that several know, and immutability."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
Head = Literal["svm", "knn", "mlp", "prototype", "linear"]
BACKBONES: tuple[str, ...] = Backbone.__args__  # type: ignore[attr-defined]
HEADS: tuple[str, ...] = Head.__args__  # type: ignore[attr-defined]

# Grad-CAM follows gradients through the head; SVM and KNN have none to follow.
HEADS_WITH_GRADIENTS = ("mlp", "prototype", "linear")
# Parameters that say where and how fast, not what: two runs that differ in these give the same numbers.
EXECUTION_ONLY = frozenset(
    {"cache_dir", "data_dir", "num_workers", "share_features", "device", "attention_maps", "storage", "heartbeat_s"}
)

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Config(BaseModel):
    """What all entry points share: immutable, and no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that nothing reads, given the others."""
        return frozenset()
