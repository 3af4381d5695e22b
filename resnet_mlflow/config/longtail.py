"""The long-tailed profile and the long-tail methods."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config.base import Config, Head
from resnet_mlflow.config.cross_validation import CrossValidationConfig
from resnet_mlflow.config.heads import CalibrationConfig, HeadConfig
from resnet_mlflow.config.training import ImageTrainingConfig, TrainingConfig
from resnet_mlflow.config.workers import WorkersConfig


class ProfileConfig(Config):
    """How many training images each class keeps, and how classes are grouped by that number."""

    profile: Literal["exp", "step", "pareto", "natural"] = Field(
        "exp", description="How class sizes fall from the largest class to the smallest; natural keeps every image."
    )
    imbalance_factor: float = Field(
        100.0,
        ge=1,
        allow_inf_nan=False,
        description="Size of the largest class divided by that of the smallest; 1 means balanced.",
    )
    class_order: Literal["dataset", "shuffled"] = Field(
        "dataset",
        description="Order of classes by size: the dataset's order, largest first, or an order shuffled by the seed.",
    )
    grouping: Literal["thresholds", "tertiles"] = Field(
        "thresholds",
        description="How classes are grouped into many, medium and few: by their number of training images, or into "
        "thirds.",
    )
    many_above: int = Field(100, ge=1, description="Classes with more training images than this form the group many.")
    few_below: int = Field(20, ge=1, description="Classes with fewer training images than this form the group few.")

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> "ProfileConfig":
        if self.few_below > self.many_above:
            raise ValueError(
                f"few_below must be at most many_above ({self.many_above}), got {self.few_below}; lower few_below"
            )
        return self


class LongtailConfig(
    WorkersConfig, CrossValidationConfig, ProfileConfig, CalibrationConfig, HeadConfig, ImageTrainingConfig
):
    """Compare long-tail methods, with one run per method and seed."""

    head: Head = Field("linear", description="The head to which the long-tail methods are applied.")
    methods: str = Field(
        "all",
        min_length=1,
        description="all, or a comma-separated list of methods; the baseline none is always included.",
    )
    seeds: str = Field(
        "0,1,2", description="Comma-separated seeds; each method runs once per seed. If empty, seed is used."
    )
    test_prior: str = Field(
        "uniform",
        min_length=1,
        description="Class frequencies where the classifier will be used: uniform, train (as in training), or "
        "comma-separated shares; if not uniform, decisions corrected for them are scored as well.",
    )
    n_trials: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Number of Optuna trials for a method's hyperparameters; 0 means its grid is searched.",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_are_numbers(cls, text: str) -> str:
        words = [word.strip() for word in text.split(",")] if text.strip() else []
        if not all(word.isascii() and word.isdigit() and int(word) < 2**31 for word in words):
            raise ValueError("must be comma-separated whole numbers in [0, 2147483647], such as 0,1,2")
        if len({int(word) for word in words}) < len(words):
            raise ValueError("must not repeat a seed")
        return ",".join(words)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "LongtailConfig":
        if self.folds and self.seeds not in ("", LongtailConfig.model_fields["seeds"].default):
            raise ValueError(
                f"seeds must be left out if folds is above 0, got {self.seeds!r}; repeats draws folds with seed, seed "
                f"+ 1, ..."
            )
        if self.seeds and self.seed and not self.folds:
            raise ValueError(f"seed must be 0 if seeds ({self.seeds}) are given, got {self.seed}; pass seeds alone")
        if self.train_layers != "fc" and self.head != "linear":
            raise ValueError(
                f"head must be linear if train_layers is {self.train_layers}, got {self.head!r}; pass train_layers=fc"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_given_in_vain(self) -> "LongtailConfig":
        if self.train_layers != "fc":
            if self.head_params != "{}":
                raise ValueError(
                    f"head_params must be {{}} if train_layers is {self.train_layers}, got {self.head_params!r}; pass "
                    f"epochs, learning_rate and so on"
                )
            if self.n_trials:
                raise ValueError(
                    f"n_trials must be 0 if train_layers is {self.train_layers}, got {self.n_trials}; networks are "
                    f"trained with the method's default hyperparameters"
                )
            return self
        for name, field in TrainingConfig.model_fields.items():
            if name != "train_layers" and getattr(self, name) != field.default:
                raise ValueError(
                    f"{name} is used only if train_layers is not fc, got {getattr(self, name)!r}; a head on features "
                    "takes its own, such as head_params={epochs: 20}"
                )
        return self

    @property
    def idle(self) -> frozenset[str]:
        """Return the parameters without effect on a run."""
        in_vain = (
            TrainingConfig.model_fields.keys() - {"train_layers"} if self.train_layers == "fc" else {"head_params"}
        )
        return super().idle | in_vain | (frozenset() if self.n_trials else {"n_trials"})

    @property
    def place(self) -> str:
        """Return what the methods are applied to: a head on features, or the trained layers."""
        return self.head if self.train_layers == "fc" else self.train_layers

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Return the seeds, in the order given; with folds, one per repeat."""
        if self.folds:
            return tuple(range(self.seed, self.seed + self.repeats))
        return tuple(int(word) for word in self.seeds.split(",")) if self.seeds else (self.seed,)
