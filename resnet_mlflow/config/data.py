"""Which images, and how they become features."""

from typing import Literal

from pydantic import Field, field_validator

from resnet_mlflow.config.base import BACKBONE_CHOICES, Backbone, Config, MaxPixels, Seed
from resnet_mlflow.config.workers import WorkersConfig
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.registry.datasets import DATASETS


class DatasetConfig(Config):
    """Which images."""

    dataset: str = Field(
        "digits",
        min_length=1,
        description=f"The images: {', '.join(kind.written for kind in DATASETS.values())} (such as cifar10).",
    )
    data_dir: str = Field(
        "",
        description="Folder that named datasets are downloaded to, and that relative paths in tables may start from; "
        "empty means the cache folder.",
    )
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail",
        description="What to do with an unreadable image: fail stops and names it, skip leaves it out and counts it.",
    )
    max_pixels: MaxPixels = Field(
        MAX_PIXELS,
        description="Maximum number of pixels in an image, according to its file header; larger images count as "
        "unreadable.",
    )
    corrections: str = Field(
        "",
        description="Table of verdicts (keep, drop or a class) to apply to the images, such as issues.csv from an "
        "audit; empty means none.",
    )
    group_by: str = Field(
        "",
        description="What the images of a group have in common: a column of the table, exif_burst, or a regular "
        "expression that is matched against the path. A group always stays in one split. Empty means that only "
        "copies form groups.",
    )
    duplicates: Literal["keep", "drop_from_train"] = Field(
        "keep", description="What to do with training images that are also in the dataset's own val or test split."
    )
    crossing_groups: Literal["keep", "drop_from_train"] = Field(
        "keep",
        description="What to do with training images whose group is also in the dataset's own val or test split.",
    )

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read: unused options change no number."""
        names = ("group_by", "duplicates", "crossing_groups", "corrections")
        return super().unread | {
            name for name in names if getattr(self, name) == DatasetConfig.model_fields[name].default
        }

    @property
    def division(self) -> dict[str, str]:
        """Return the parameters that decide which images stay together and which are left out."""
        return {name: getattr(self, name) for name in ("group_by", "duplicates", "crossing_groups")}


class DataConfig(DatasetConfig):
    """Which images, and which of them validate."""

    val_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Fraction of the training images held out for validation if the dataset has no val split.",
    )
    calibration_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the validation images set aside for promote to calibrate on; no choice is based on "
        "them. 0 means none.",
    )
    seed: Seed = Field(
        0, description="Seed of the validation split, the heads' initial weights, batch order and augmentation."
    )

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read: if no images are set aside, their numbers do not change."""
        return super().unread | (frozenset() if self.calibration_fraction else {"calibration_fraction"})


class FeatureConfig(DataConfig):
    """How images become features."""

    backbone: Backbone = Field(
        "resnet18", description=f"The network that turns images into features. {BACKBONE_CHOICES}"
    )
    weights: str = Field(
        "auto",
        min_length=1,
        description="Weights of the backbone: auto, imagenet, the name of torchvision or timm weights, random, "
        "random:RECIPE, a file in any common layout, runs:/ID or models:/NAME.",
    )
    weights_seed: Seed = Field(0, description="Seed of random backbone weights.")
    image_size: int = Field(
        0, ge=0, le=4096, description="Side length of the network's input in pixels; 0 means the dataset's default."
    )
    resize: int = Field(
        0,
        ge=0,
        le=8192,
        description="Length in pixels to which the shorter side is resized before the centre crop of image_size; 0 "
        "means as the weights expect.",
    )
    interpolation: Literal["auto", "bilinear", "bicubic"] = Field(
        "auto", description="Interpolation used to resize images; auto means as the weights expect."
    )
    mean: str = Field("", description="Mean per channel, such as 0.485,0.456,0.406; empty means as the weights expect.")
    std: str = Field(
        "",
        description="Standard deviation per channel, such as 0.229,0.224,0.225; empty means as the weights expect.",
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Number format in which the network runs; auto means bf16 if the device supports it natively, "
        "otherwise fp32. int8 is for torchvision's networks on a processor, and rounds more.",
    )
    batch_size: int = Field(128, ge=1, le=65536, description="Images per batch.")
    num_workers: int = Field(
        -1, ge=-1, le=256, description="Number of threads that decode images; -1 means one per core."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Device on which the network runs.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )
    share_features: bool = Field(True, description="Also store features as run artifacts, for use on other machines.")

    @field_validator("image_size")
    @classmethod
    def _image_size_is_usable(cls, size: int) -> int:
        # ResNets halve the image five times: below 16 pixels the last stage has less than one pixel.
        if size != 0 and size < 16:
            raise ValueError("must be 0 (the dataset's default) or in [16, 4096]")
        return size


class ExtractConfig(WorkersConfig, FeatureConfig):
    """Compute the features of a dataset's images and store them."""

    def problem_with_ranks(self, n_ranks: int) -> str:
        """Return no problem: each process of an extraction takes its own share of the images."""
        return "must not be combined with workers" if self.has_workers else ""


def extraction_of(config: FeatureConfig) -> ExtractConfig:
    """Return the configuration that extracts, in one process, the features used by another configuration."""
    return ExtractConfig(**{name: getattr(config, name) for name in FeatureConfig.model_fields})
