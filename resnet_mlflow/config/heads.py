"""The classifier on the features, and how it is evaluated."""

from typing import Literal

from pydantic import Field, model_validator

from resnet_mlflow.config.base import Config, Head, HeadOrAll
from resnet_mlflow.config.cross_validation import CrossValidationConfig
from resnet_mlflow.config.data import FeatureConfig
from resnet_mlflow.config.tuning import TuningConfig
from resnet_mlflow.registry.heads import HEADS


class HeadConfig(Config):
    """The classifier on the features."""

    head: Head = Field("svm", description="The classifier fitted on features.")
    head_params: str = Field("{}", description="Parameters of the head as YAML, such as '{C: 1, kernel: linear}'.")


class CalibrationConfig(Config):
    """How a fitted classifier's scores become probabilities."""

    calibration: Literal["none", "temperature"] = Field(
        "temperature",
        description="How scores become probabilities: temperature fits one temperature on validation data, none "
        "leaves them as they are.",
    )
    train_predictions: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether to keep predictions of the training images as well; auto means if they are cheap."
    )

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read: defaults change no number."""
        return super().unread | ({"train_predictions"} if self.train_predictions == "auto" else set())


class EvaluationConfig(CalibrationConfig):
    """How a fitted classifier's scores are processed."""

    attention_maps: int = Field(
        0, ge=0, le=64, description="Number of correct and of wrong test images for which Grad-CAM maps are drawn."
    )


class FitHeadConfig(CrossValidationConfig, TuningConfig, EvaluationConfig, HeadConfig, FeatureConfig):
    """Fit a head on the features of a frozen backbone and evaluate it; with n_trials, tune its parameters first."""

    head: HeadOrAll = Field("svm", description="The classifier fitted on features; all tunes every head.")

    shots: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Number of labelled training images per class, drawn with the seed; 0 means all.",
    )

    @property
    def idle(self) -> frozenset[str]:
        """Return the parameters without effect on a run."""
        return super().idle | (frozenset() if self.shots else {"shots"})

    @property
    def method(self) -> str:
        """Return what distinguishes a classifier from others on the same features, such as ``svm tuned``."""
        shots = f"{self.shots} shot{'s' if self.shots > 1 else ''}" if self.shots else ""
        return " ".join(filter(None, [self.head, "tuned" if self.tunes else "", shots]))

    @model_validator(mode="after")
    def _attention_maps_need_gradients(self) -> "FitHeadConfig":
        with_gradients = [name for name, head in HEADS.items() if head.has_gradients]
        if self.attention_maps and self.head not in with_gradients:
            raise ValueError(
                f"attention_maps needs a head with gradients ({', '.join(with_gradients)}), got head "
                f"{self.head!r}; pass attention_maps=0"
            )
        return self

    @model_validator(mode="after")
    def _all_heads_are_tuned(self) -> "FitHeadConfig":
        if self.head == "all" and not self.tunes:
            raise ValueError(f"head all needs n_trials above 0, got 0; pass n_trials, or one of {', '.join(HEADS)}")
        if self.head == "all" and self.head_params != "{}":
            raise ValueError(f"head_params must be {{}} for head all, got {self.head_params!r}; pass search_space")
        if self.head == "all" and self.folds:
            raise ValueError(f"folds must be 0 for head all, got {self.folds}; cross-validate one head at a time")
        return self
