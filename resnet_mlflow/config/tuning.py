"""Whether and how hyperparameters are searched."""

import re
from typing import Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from resnet_mlflow.config.base import Config
from resnet_mlflow.errors import nearest

OBJECTIVES = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "nll", "ece")
MINIMIZED = ("nll", "ece")


class TuningConfig(Config):
    """Whether and how hyperparameters are searched; without ``n_trials`` nothing of it is read."""

    n_trials: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of Optuna trials; the best parameters are then refitted. 0 means no tuning.",
    )
    search_space: str = Field(
        "",
        description="YAML file of search spaces, or the name of a built-in one such as knn-dino; empty "
        "means the head's own.",
    )
    sampler: Literal["tpe", "random", "grid", "cmaes", "gp"] = Field(
        "tpe", description="Algorithm that proposes the next trial."
    )
    pruner: Literal["auto", "none", "median", "hyperband"] = Field(
        "auto",
        description="Algorithm that stops poor trials early; auto means median for methods trained in epochs, "
        "otherwise none.",
    )
    objective: str = Field(
        "accuracy", description="Validation metric to optimise: accuracy, balanced_accuracy, nll, ..."
    )
    second_objective: Literal["none", "inference_time"] = Field(
        "none",
        description="Second objective, optimised together with the first; the figure pareto_front shows the trade-off.",
    )
    cv_folds: int = Field(
        0,
        ge=0,
        le=100,
        description="Number of cross-validation folds of the training images used to score trials; 0 means the "
        "validation split is used.",
    )
    timeout_s: float = Field(0.0, ge=0, description="Seconds after which no new trial starts; 0 means no limit.")
    target: float = Field(0.0, ge=0, description="Objective value at which tuning stops; 0 means none.")
    study_name: str = Field(
        "", description="Name of the Optuna study in its storage; empty means one derived from the run."
    )
    storage: str = Field(
        "",
        description="Optuna URL or .journal file shared by processes; empty means a journal in the cache folder.",
    )
    heartbeat_s: int = Field(
        10,
        ge=1,
        le=3600,
        description="Seconds between heartbeats of a trial in a database; a trial that misses 6 is retried.",
    )

    @field_validator("objective")
    @classmethod
    def _objective_is_measured_on_validation(cls, name: str) -> str:
        metric = name.removeprefix("val/")
        if metric.startswith("test/"):
            raise ValueError("must be a validation metric, because the test split is used only once, at the end")
        if metric not in OBJECTIVES:
            near = nearest(metric, OBJECTIVES).removeprefix("; ")
            raise ValueError(f"must be one of {', '.join(OBJECTIVES)}{f' ({near})' if near else ''}")
        return metric

    @field_validator("cv_folds")
    @classmethod
    def _one_fold_is_none(cls, n_folds: int) -> int:
        if n_folds == 1:
            raise ValueError("must be 0 (the validation split) or at least 2")
        return n_folds

    @field_serializer("storage")
    def _runs_record_no_password(self, url: str) -> str:
        return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)

    @model_validator(mode="after")
    def _tuning_fits_together(self) -> "TuningConfig":
        if not self.n_trials:
            for name in sorted(TuningConfig.model_fields.keys() & self.model_fields_set):
                if getattr(self, name) != TuningConfig.model_fields[name].default:
                    raise ValueError(f"{name} is used only if n_trials is above 0, got {name}={getattr(self, name)!r}")
        if self.second_objective != "none":
            for name, value, fitting in (
                ("sampler", self.sampler, ("tpe", "random", "grid", "gp")),
                ("pruner", self.pruner, ("auto", "none")),
            ):
                if value not in fitting:
                    raise ValueError(
                        f"{name} must be one of {', '.join(fitting)} with a second_objective, got {value!r}"
                    )
        if self.cv_folds and self.pruner not in ("auto", "none"):
            raise ValueError(f"pruner must be auto or none if cv_folds is above 0, got {self.pruner!r}")
        return self

    @property
    def tunes(self) -> bool:
        """Return whether a study is requested."""
        return self.n_trials > 0

    @property
    def minimizes(self) -> bool:
        """Return whether a low value of the objective is good."""
        return self.objective in MINIMIZED

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read, and so do not affect a run's numbers."""
        return super().unread | (frozenset() if self.tunes else frozenset(TuningConfig.model_fields))

    @property
    def idle(self) -> frozenset[str]:
        """Return the parameters without effect on a run."""
        off = ("cv_folds", "timeout_s", "target", "second_objective")
        return super().idle | {name for name in off if getattr(self, name) == TuningConfig.model_fields[name].default}
