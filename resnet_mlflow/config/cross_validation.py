"""Whether scores come from one test split or from cross-validation."""

from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config.base import Config

# The largest valid seed.
MAX_SEED = 2**31 - 1


class CrossValidationConfig(Config):
    """Whether every image is predicted once by a classifier that has not seen it, instead of one test split."""

    folds: int = Field(0, ge=0, le=100, description="Number of cross-validation folds; 0 means none.")
    repeats: int = Field(
        1,
        ge=1,
        le=100,
        description="Number of times that folds are drawn, with seed, seed + 1, ...; used only if folds is above 0.",
    )

    @field_validator("folds")
    @classmethod
    def _one_fold_leaves_nothing(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0 (the dataset's test split) or at least 2")
        return folds

    @model_validator(mode="after")
    def _repeats_are_of_folds(self) -> "CrossValidationConfig":
        if self.repeats > 1 and not self.folds:
            raise ValueError(f"repeats is used only if folds is above 0, got repeats={self.repeats}; pass folds=5")
        if getattr(self, "seed", 0) + self.repeats - 1 > MAX_SEED:
            raise ValueError(f"seed + repeats must be at most {MAX_SEED + 1}, got repeats={self.repeats}; lower seed")
        return self

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read, given the others."""
        return super().unread | (frozenset() if self.folds else frozenset(CrossValidationConfig.model_fields))
