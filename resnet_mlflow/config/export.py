"""Which classifier is exported, to which formats, and how much accuracy that may cost."""

from typing import ClassVar

from pydantic import Field, model_validator

from resnet_mlflow.config.base import Config
from resnet_mlflow.errors import nearest
from resnet_mlflow.registry.export_formats import EXPORT_FORMATS, PRECISIONS, ExportFormat

Form = tuple[ExportFormat, str]


class ExportConfig(Config):
    """Export a classifier to other runtimes, if the exported files agree with it on the test split."""

    after_stop: ClassVar[str] = "nothing was written: run the same command again to start over"

    model: str = Field("", description="The registered classifier, such as models:/digits-classifier@champion.")
    run_id: str = Field(
        "", description="Run that fitted a classifier, instead of model; it is exported without answering rules."
    )
    format: str = Field(
        "onnx", min_length=1, description=f"Formats to write: {' or '.join(EXPORT_FORMATS)}, comma-separated."
    )
    precision: str = Field(
        "fp32",
        min_length=1,
        description=f"Precisions to export: {', '.join(PRECISIONS)}, comma-separated. fp32 must agree with the "
        f"classifier; the others must keep its accuracy.",
    )
    margin: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Accuracy that precisions other than fp32 may lose: the interval of the difference must lie above "
        "-margin.",
    )
    calibration_images: int = Field(
        300, ge=1, le=100_000, description="Number of training images used to calibrate int8 ranges."
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images per batch.")
    num_workers: int = Field(
        -1, ge=-1, le=256, description="Number of threads that decode images; -1 means one per core."
    )
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )

    @property
    def forms(self) -> list[Form]:
        """Return every combination of format and precision, without repeats."""
        formats = [EXPORT_FORMATS[name] for name in _words(self.format)]
        return [(row, precision) for row in formats for precision in _words(self.precision)]

    @model_validator(mode="after")
    def _forms_are_known(self) -> "ExportConfig":
        for field, known in (("format", tuple(EXPORT_FORMATS)), ("precision", PRECISIONS)):
            for word in _words(getattr(self, field)) or [""]:
                if word not in known:
                    raise ValueError(
                        f"{field} must be one of {', '.join(known)}, got {word[:100]!r}{nearest(word, known)}"
                    )
        for row, precision in self.forms:
            if precision not in row.precisions:
                why = f" ({row.why_not})" if row.why_not else ""
                raise ValueError(
                    f"precision of format {row.name} must be one of {', '.join(row.precisions)}, got {precision!r}{why}"
                )
        return self


def _words(text: str) -> list[str]:
    """Return the words of a comma-separated list, without repeats."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
