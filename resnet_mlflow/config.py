"""One frozen model per entry point: types, ranges, defaults and help of every parameter.

The command line (``cli``) and ``MLproject`` (``project_file``) are derived from these models.
Models combine by inheritance; a function takes the narrowest one it needs. MLflow passes every
parameter as text, and treats a ``None`` default as "required": hence ``""``, ``0`` and named
choices stand for "not given".
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
Head = Literal["svm", "knn", "mlp", "prototype", "linear"]
BACKBONES: tuple[str, ...] = Backbone.__args__  # type: ignore[attr-defined]
HEADS: tuple[str, ...] = Head.__args__  # type: ignore[attr-defined]

# Grad-CAM follows gradients through the head; SVM and KNN have none to follow.
HEADS_WITH_GRADIENTS = ("mlp", "prototype", "linear")
# Parameters that say where and how fast, not what: two runs that differ in these give the same numbers.
EXECUTION_ONLY = frozenset({"cache_dir", "data_dir", "num_workers", "share_features", "device", "attention_maps"})

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Config(BaseModel):
    """What all entry points share: immutable, and no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class DataConfig(Config):
    """Which images, and which of them validate."""

    dataset: str = Field(
        "digits", min_length=1, description="digits, a torchvision name such as cifar10, or folder:PATH."
    )
    data_dir: str = Field("", description="Where named datasets are downloaded to; empty means the cache folder.")
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail", description="What an unreadable image does: fail names it and stops, skip counts it."
    )
    val_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of the training images that validates, where the dataset has no val split."
    )
    seed: Seed = Field(
        0, description="Seed of the validation split, initial weights of heads, batch order, augmentation."
    )


class FeatureConfig(DataConfig):
    """How images become features."""

    backbone: Backbone = Field("resnet18", description="The network that turns images into features.")
    weights: str = Field(
        "auto",
        min_length=1,
        description="auto, imagenet, a torchvision weights name, random, a .pth or .safetensors file, "
        "runs:/ID or models:/NAME.",
    )
    weights_seed: Seed = Field(0, description="Seed of random backbone weights.")
    image_size: int = Field(
        0, ge=0, le=4096, description="Side of the network's input in pixels; 0 means the dataset's own default."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network; auto is bf16 where the device has it natively."
    )
    batch_size: int = Field(128, ge=1, le=65536, description="Images per batch.")
    num_workers: int = Field(-1, ge=-1, le=256, description="Threads that decode images; -1 means one per core.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where the network runs.")
    cache_dir: str = Field(
        "", description="Folder of the feature store; empty means RESNET_MLFLOW_CACHE or ~/.cache/resnet-mlflow."
    )
    share_features: bool = Field(True, description="Also keep features as run artifacts, for other machines.")

    @field_validator("image_size")
    @classmethod
    def _image_size_is_usable(cls, size: int) -> int:
        # ResNets halve the image five times: below 16 pixels the last stage sees less than one.
        if size != 0 and size < 16:
            raise ValueError("must be 0 (the dataset's default) or in [16, 4096]")
        return size


class HeadConfig(Config):
    """Which classifier sits on the features."""

    head: Head = Field("svm", description="The classifier fitted on features.")
    head_params: str = Field("{}", description="Parameters of the head as YAML, such as '{C: 1, kernel: linear}'.")


class CalibrationConfig(Config):
    """How a fitted classifier's scores become probabilities."""

    calibration: Literal["none", "temperature"] = Field(
        "temperature", description="How scores become probabilities: one temperature from validation, or as they are."
    )


class EvaluationConfig(CalibrationConfig):
    """What is done with a fitted classifier's scores."""

    attention_maps: int = Field(0, ge=0, le=64, description="Grad-CAM maps of that many right and wrong test images.")


class TrainingConfig(Config):
    """How a network is trained."""

    train_layers: Literal["fc", "layer4", "layer3+", "all"] = Field(
        "fc", description="What is trained: the linear head, or also the backbone's last stages, or everything."
    )
    epochs: int = Field(10, ge=1, le=10_000, description="Passes over the training images, at most.")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="The optimizer; sgd has momentum 0.9.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Peak learning rate.")
    weight_decay: float = Field(1e-4, ge=0, le=10, description="Weight decay; biases and BatchNorm are exempt.")
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = Field(
        "cosine", description="How the learning rate moves after the warm-up."
    )
    warmup_epochs: float = Field(0.0, ge=0, le=1000, description="Epochs of linear warm-up.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target spread over all classes.")
    gradient_clip: float = Field(0.0, ge=0, description="Largest gradient norm; 0 means no limit.")
    accumulate: int = Field(1, ge=1, le=1024, description="Batches whose gradients are added before a step.")
    augmentation: Literal["none", "flip", "crop", "trivial", "rand", "auto"] = Field(
        "none", description="Augmentation of training images; crop includes the flip."
    )
    patience: int = Field(0, ge=0, description="Epochs without improvement before training stops; 0 means never.")
    min_delta: float = Field(0.0, ge=0, lt=1, description="Smallest gain in validation accuracy that counts.")

    @model_validator(mode="after")
    def _warmup_is_shorter_than_training(self) -> "TrainingConfig":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs ({self.epochs}), got {self.warmup_epochs:g}; raise epochs"
            )
        return self


class ImageTrainingConfig(TrainingConfig, FeatureConfig):
    """How a network is trained, and on which images."""


class ExtractConfig(FeatureConfig):
    """Turn the images of a dataset into features, once."""


class FitHeadConfig(EvaluationConfig, HeadConfig, FeatureConfig):
    """Fit a head on the features of a frozen backbone, and evaluate it."""

    @model_validator(mode="after")
    def _attention_maps_need_gradients(self) -> "FitHeadConfig":
        if self.attention_maps and self.head not in HEADS_WITH_GRADIENTS:
            raise ValueError(
                f"attention_maps needs a head with gradients ({', '.join(HEADS_WITH_GRADIENTS)}), got head "
                f"{self.head!r}; pass attention_maps=0"
            )
        return self


class FinetuneConfig(EvaluationConfig, ImageTrainingConfig):
    """Train the linear head of a network, and as many of its stages as asked for."""


class ProfileConfig(Config):
    """How many training images each class keeps, and how classes are grouped by that number."""

    profile: Literal["exp", "step", "pareto", "natural"] = Field(
        "exp", description="How class sizes fall from the largest class to the smallest; natural keeps every image."
    )
    imbalance_factor: float = Field(
        100.0, ge=1, allow_inf_nan=False, description="Largest class size over smallest; 1 means balanced."
    )
    class_order: Literal["dataset", "shuffled"] = Field(
        "dataset", description="Which class is the largest: the dataset's first, or the first of an order by the seed."
    )
    grouping: Literal["thresholds", "tertiles"] = Field(
        "thresholds", description="What makes classes many, medium or few: numbers of images, or thirds of the classes."
    )
    many_above: int = Field(100, ge=1, description="Classes with more training images than this are many.")
    few_below: int = Field(20, ge=1, description="Classes with fewer training images than this are few.")

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> "ProfileConfig":
        if self.few_below > self.many_above:
            raise ValueError(
                f"few_below must be at most many_above ({self.many_above}), got {self.few_below}; lower few_below"
            )
        return self


class LongtailConfig(ProfileConfig, CalibrationConfig, HeadConfig, ImageTrainingConfig):
    """Compare remedies against long-tailed training data: one run per method and seed."""

    head: Head = Field("linear", description="The classifier that methods are applied to.")
    methods: str = Field("all", min_length=1, description="all, or names of methods with commas; none is always in.")
    seeds: str = Field("0,1,2", description="Each method runs once per seed, written with commas; empty means seed.")
    test_prior: str = Field(
        "uniform",
        min_length=1,
        description="Class shares where the classifier will be used: uniform, train (as in training), or shares with "
        "commas; other than uniform, the corrected decision is scored too.",
    )
    n_trials: int = Field(
        0, ge=0, le=10_000, description="Optuna trials for a method's hyperparameters; 0 means its grid."
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_are_numbers(cls, text: str) -> str:
        words = [word.strip() for word in text.split(",")] if text.strip() else []
        if not all(word.isascii() and word.isdigit() and int(word) < 2**31 for word in words):
            raise ValueError("must be whole numbers in [0, 2147483647] with commas between them, such as 0,1,2")
        if len({int(word) for word in words}) < len(words):
            raise ValueError("must not repeat a seed")
        return ",".join(words)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "LongtailConfig":
        if self.seeds and self.seed:
            raise ValueError(f"seed must be 0 where seeds ({self.seeds}) are given, got {self.seed}; pass seeds alone")
        if self.train_layers != "fc" and self.head != "linear":
            raise ValueError(
                f"head must be linear where train_layers is {self.train_layers}, got {self.head!r}; "
                "pass train_layers=fc"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_given_in_vain(self) -> "LongtailConfig":
        if self.train_layers != "fc":
            if self.head_params != "{}":
                raise ValueError(
                    f"head_params must be {{}} where train_layers is {self.train_layers}, got {self.head_params!r}; "
                    "pass epochs, learning_rate and the like"
                )
            if self.n_trials:
                raise ValueError(
                    f"n_trials must be 0 where train_layers is {self.train_layers}, got {self.n_trials}; networks are "
                    "trained with a method's defaults"
                )
            return self
        for name, field in TrainingConfig.model_fields.items():
            if name != "train_layers" and getattr(self, name) != field.default:
                raise ValueError(
                    f"{name} is read where train_layers is not fc, got {getattr(self, name)!r}; a head on features "
                    "takes its own, such as head_params={epochs: 20}"
                )
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Return the seeds, in the order given."""
        return tuple(int(word) for word in self.seeds.split(",")) if self.seeds else (self.seed,)


class MainConfig(Config):
    """Run a study: backbones x heads x fine-tuning x seeds, one tracked run per cell."""

    study: str = Field("digits", min_length=1, description="Name of a study in studies/, or the path of a YAML file.")
    dataset: str = Field("", description="Overrides the study's dataset, where given.")
    cache_dir: str = Field("", description="Overrides the study's folder of the feature store, where given.")


ENTRY_POINTS: dict[str, type[Config]] = {
    "main": MainConfig,
    "extract": ExtractConfig,
    "fit_head": FitHeadConfig,
    "finetune": FinetuneConfig,
    "longtail": LongtailConfig,
}
