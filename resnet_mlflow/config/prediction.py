"""Which images a registered classifier predicts, and where the predictions go."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from resnet_mlflow.config.base import Config, MaxPixels
from resnet_mlflow.data.formats import MAX_PIXELS

ENDINGS = (".parquet", ".csv")


class ClassifyConfig(Config):
    """A registered classifier, and how it processes images."""

    model: str = Field(
        "models:/digits-classifier@champion",
        min_length=1,
        description="The classifier: models:/NAME@ALIAS or models:/NAME/VERSION.",
    )
    max_pixels: MaxPixels = Field(
        MAX_PIXELS,
        description="Maximum number of pixels in an image, according to its file header; larger images count as "
        "unreadable.",
    )
    batch_size: int = Field(128, ge=1, le=65536, description="Images per batch.")
    num_workers: int = Field(
        -1, ge=-1, le=256, description="Number of threads that decode images; -1 means one per core."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Device on which the network runs.")


class PredictConfig(ClassifyConfig):
    """Predict the images in a folder with a registered classifier."""

    after_stop: ClassVar[str] = "nothing was written: run the same command again to start over"

    images: str = Field("images", min_length=1, description="Folder of images, including subfolders.")
    output: str = Field("predictions.parquet", description="File to write, .parquet or .csv; written atomically.")

    @field_validator("output")
    @classmethod
    def _output_has_a_known_ending(cls, path: str) -> str:
        if not path.endswith(ENDINGS):
            raise ValueError(f"must end in {' or '.join(ENDINGS)}")
        return path
