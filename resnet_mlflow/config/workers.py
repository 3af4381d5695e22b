"""Which processes share the work."""

import re

from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config.base import Config

_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^\s/:]+(:\d+)?")


class WorkersConfig(Config):
    """Where independent parts of the work run in parallel."""

    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Number of local processes to run in parallel; 0 means everything runs in this process.",
    )
    scheduler: str = Field(
        "",
        description="Address of a Dask scheduler whose workers share the work, such as tcp://host:8786 or "
        "tls://host:8786; empty means none.",
    )

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, scheduler: str) -> str:
        if scheduler and not _ADDRESS.fullmatch(scheduler):
            raise ValueError("must be an address such as tcp://host:8786 or tls://host:8786")
        return scheduler

    @model_validator(mode="after")
    def _one_of_both(self) -> "WorkersConfig":
        if self.workers and self.scheduler:
            raise ValueError(
                f"workers must be 0 if a scheduler is given, got workers={self.workers}; the scheduler's workers are "
                f"used"
            )
        return self

    @property
    def has_workers(self) -> bool:
        """Return whether other processes do the work."""
        return bool(self.workers or self.scheduler)
