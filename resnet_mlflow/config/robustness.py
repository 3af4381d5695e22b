"""Which classifiers are tested, and under which corruptions."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config.base import Seed
from resnet_mlflow.config.workers import WorkersConfig

SOURCES = ("model", "runs", "filter")


class RobustnessConfig(WorkersConfig):
    """Test classifiers on corrupted images; those that share a backbone share each pass over the images."""

    model: str = Field("", description="The registered classifier, such as models:/digits-classifier@champion.")
    runs: str = Field("", description="Comma-separated ids of runs that fitted classifiers.")
    filter: str = Field(
        "",
        description="MLflow filter; all classifiers whose runs match it are tested, such as tags.dataset = 'cifar10'.",
    )
    corruptions: str = Field(
        "benchmark",
        min_length=1,
        description="Comma-separated: all, benchmark, extra, geometric, a benchmark family (noise, blur, weather, "
        "digital), or names of corruptions.",
    )
    severities: str = Field(
        "1,2,3,4,5", min_length=1, description="Comma-separated severities from 1 to 5, or tiers such as mild."
    )
    tiers: str = Field(
        "mild=1,medium=3,strong=5", min_length=1, description="Severities that mild, medium and strong stand for."
    )
    reference_run: str = Field(
        "",
        description="Run of the reference classifier for mCE, or of its robustness test; empty means no mCE.",
    )
    max_images: int = Field(
        0, ge=0, description="Size of a stratified sample of the test images, drawn with the seed; 0 means all images."
    )
    corruption_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="Length in pixels of the shorter side at which images are corrupted; 0 means their own size, at "
        "most 256.",
    )
    store_features: bool = Field(
        False, description="Store the features of corrupted images for classifiers that are tested later."
    )
    seed: Seed = Field(0, description="Seed of the sample; corruptions depend only on the images.")
    batch_size: int = Field(128, ge=1, le=65536, description="Images per batch.")
    num_workers: int = Field(
        -1, ge=-1, le=256, description="Number of threads that decode and corrupt images; -1 means one per core."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Device on which the network runs.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )

    @field_validator("corruption_size")
    @classmethod
    def _size_can_be_corrupted(cls, size: int) -> int:
        if size != 0 and size < 16:
            raise ValueError("must be 0 (the images' own size) or in [16, 1024]")
        return size

    @model_validator(mode="after")
    def _one_source(self) -> "RobustnessConfig":
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"exactly one of {', '.join(SOURCES)} must be given, got {' and '.join(given)}; keep one")
        return self
