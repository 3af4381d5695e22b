"""The content of a study file."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config import Backbone, Config, Head, Seed


class FewShotStudy(Config):
    """Heads on a few labelled images per class, several samples of which are drawn."""

    heads: tuple[Head, ...] = Field(("knn", "prototype", "linear"), min_length=1, description="Heads to compare.")
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16, 32, 64, 96), min_length=1, description="Labelled training images per class."
    )
    samples: int = Field(
        5, ge=1, le=1000, description="Number of times that images are drawn, with the seeds 0, 1, ..."
    )
    backbones: tuple[Backbone, ...] = Field((), description="Restricts this section to some of the study's backbones.")


class Study(Config):
    """The content of a study file."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Name of the study's run.")
    description: str = Field("", description="One sentence for the run's note.")
    features: dict[str, Any] = Field({}, description="Parameters of extract, shared by all cells.")
    evaluation: dict[str, Any] = Field({}, description="calibration and attention_maps, shared by all cells.")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="Each cell runs once per seed.")
    folds: int = Field(
        0, description="Number of folds in which every cell is cross-validated; 0 means the test split is used."
    )
    repeats: int = Field(1, description="Number of times that folds are drawn, with seed, seed + 1, ...")
    backbones: tuple[Backbone, ...] = Field(min_length=1, description="Backbones to compare.")
    heads: dict[str, dict[str, Any] | None] = Field({}, description="Heads on frozen features, with their parameters.")
    tuning: dict[str, dict[str, Any]] = Field(
        {}, description="Heads to tune, in addition to those above, with n_trials, backbones and other parameters."
    )
    finetune: dict[str, dict[str, Any]] = Field(
        {},
        description="Fine-tunings, each under a name of your choice; `backbones` restricts one to some of the "
        "backbones.",
    )
    longtail: dict[str, dict[str, Any]] = Field(
        {},
        description="Long-tail comparisons, each under a name of your choice, over the study's seeds; `backbones` as "
        "above.",
    )
    few_shot: FewShotStudy | None = Field(None, description="Heads fitted on a few labelled images per class.")
    audit: dict[str, Any] | None = Field(
        None,
        description="An audit of the dataset before the cells run, with its parameters; it uses the first backbone's "
        "features.",
    )
    robustness: dict[str, dict[str, Any]] = Field(
        {},
        description="Robustness tests of the study's finished cells, each under a name of your choice; `methods`, "
        "`backbones` and `seeds` restrict one to some of the cells.",
    )

    @field_validator("seeds", "backbones")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("must not repeat a value")
        return values

    @model_validator(mode="after")
    def _folds_stand_alone(self) -> "Study":
        if not self.folds:
            return self
        if len(self.seeds) > 1:
            raise ValueError(
                f"only one seed is allowed if folds is above 0, got {', '.join(map(str, self.seeds))}; repeats draws "
                f"folds with seed, seed + 1, ..."
            )
        for section, why in (("few_shot", "draws its own samples"), ("robustness", "tests fitted classifiers")):
            if getattr(self, section):
                raise ValueError(
                    f"{section} must be left out if folds is above 0, because it {why}; make it a separate study"
                )
        return self

    @property
    def division(self) -> dict[str, int]:
        """Return folds and repeats as parameters of the cells; empty if the test split is used."""
        return {"folds": self.folds, "repeats": self.repeats} if self.folds or self.repeats != 1 else {}
