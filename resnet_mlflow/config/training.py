"""How a network is trained."""

from typing import Literal

from pydantic import Field, model_validator

from resnet_mlflow.config.base import Config
from resnet_mlflow.config.cross_validation import CrossValidationConfig
from resnet_mlflow.config.data import FeatureConfig
from resnet_mlflow.config.heads import EvaluationConfig
from resnet_mlflow.config.tuning import TuningConfig


class TrainingConfig(Config):
    """How a network is trained."""

    train_layers: Literal["fc", "layer4", "layer3+", "all"] = Field(
        "fc",
        description="Layers to train: the linear head only (fc), the head and the backbone's last stages, or all "
        "layers.",
    )
    epochs: int = Field(10, ge=1, le=10_000, description="Maximum number of passes over the training images.")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="The optimizer; sgd has momentum 0.9.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Peak learning rate.")
    weight_decay: float = Field(1e-4, ge=0, le=10, description="Weight decay; biases and BatchNorm are exempt.")
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = Field(
        "cosine", description="How the learning rate changes after warm-up."
    )
    warmup_epochs: float = Field(0.0, ge=0, le=1000, description="Epochs of linear warm-up.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the target probability that is spread over all classes."
    )
    gradient_clip: float = Field(0.0, ge=0, description="Maximum gradient norm; 0 means no limit.")
    accumulate: int = Field(
        1, ge=1, le=1024, description="Number of batches whose gradients are accumulated before each step."
    )
    augmentation: Literal["none", "flip", "crop", "trivial", "rand", "auto", "augmix"] = Field(
        "none", description="Augmentation of training images; crop includes the flip."
    )
    patience: int = Field(
        0, ge=0, description="Number of epochs without improvement after which training stops; 0 means never."
    )
    min_delta: float = Field(
        0.0, ge=0, lt=1, description="Smallest gain in validation accuracy that counts as an improvement."
    )

    @model_validator(mode="after")
    def _warmup_is_shorter_than_training(self) -> "TrainingConfig":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs ({self.epochs}), got {self.warmup_epochs:g}; raise epochs"
            )
        return self


class ImageTrainingConfig(TrainingConfig, FeatureConfig):
    """How a network is trained, and on which images."""

    @model_validator(mode="after")
    def _int8_is_not_trained(self) -> "ImageTrainingConfig":
        if self.precision == "int8" and not self.trains_on_features:
            raise ValueError(
                f"precision must be auto, fp32 or bf16 with train_layers={self.train_layers} and "
                f"augmentation={self.augmentation}, got 'int8'; only train_layers=fc without augmentation trains on "
                "features that can be in int8"
            )
        return self

    @property
    def trains_on_features(self) -> bool:
        """Return whether stored features suffice: the backbone is frozen, and images are the same in every epoch."""
        return self.train_layers == "fc" and self.augmentation == "none"


class FinetuneConfig(CrossValidationConfig, TuningConfig, EvaluationConfig, ImageTrainingConfig):
    """Fine-tune a network: train its linear head and, if requested, its last stages or all layers."""

    @property
    def method(self) -> str:
        """Return what distinguishes a classifier from others with the same backbone, such as ``finetune all``."""
        return f"finetune {'tuned' if self.tunes else self.train_layers}"

    def problem_with_ranks(self, n_ranks: int) -> str:
        """Return why several processes cannot share each batch; empty if they can."""
        one = "must run in a single process"
        if self.tunes or self.folds:
            return f"{one} with {'n_trials' if self.tunes else 'folds'}"
        if self.trains_on_features:
            return f"{one} with train_layers=fc and augmentation=none, which trains on stored features"
        if self.on_bad_image == "skip":
            return f"{one} with on_bad_image=skip"
        if self.batch_size % n_ranks or self.batch_size < 2 * n_ranks:
            return f"must divide batch_size ({self.batch_size}) evenly, with at least two images per process"
        return ""

    @model_validator(mode="after")
    def _epochs_report_accuracy(self) -> "FinetuneConfig":
        if self.objective != "accuracy":
            raise ValueError(
                f"objective must be accuracy for finetune, which chooses epochs by it, got {self.objective!r}"
            )
        for name, idle in (("cv_folds", 0), ("second_objective", "none")):
            if getattr(self, name) != idle:
                raise ValueError(
                    f"{name} must be {idle} for finetune, got {getattr(self, name)!r}; use it to tune heads"
                )
        return self
