"""Which runs are compared, and where the report goes."""

from pydantic import Field, field_validator

from resnet_mlflow.config.base import Config


class ReportConfig(Config):
    """Where a report is written, and where its numbers lead."""

    output: str = Field(
        "report", min_length=1, description="Folder for the report: new, empty, or containing an earlier report."
    )
    ui_url: str = Field(
        "",
        description="Address of the MLflow UI, for links to runs; empty means the tracking server, or "
        "http://127.0.0.1:5000 for other stores.",
    )

    @field_validator("ui_url")
    @classmethod
    def _ui_url_is_one(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url


class CompareConfig(ReportConfig):
    """Compare the runs of an experiment: tables, figures and one HTML page, logged as artifacts of a run."""

    experiment: str = Field("resnet-mlflow", min_length=1, description="Name of the experiment.")
    dataset: str = Field("", description="Use only runs whose dataset tag has this value; empty means all.")
    tags: str = Field("", description="Use only runs with these tags, such as 'seed=0,backbone=resnet18'.")
    since: str = Field("", description="Use only runs started at or after this date or time (ISO 8601, UTC).")
    until: str = Field("", description="Use only runs started before this date or time.")
    parent: str = Field("", description="Run id: use only this run and all runs below it.")

    @field_validator("tags")
    @classmethod
    def _tags_are_pairs(cls, text: str) -> str:
        if any(not name.strip() or not sign for name, sign, _ in (part.partition("=") for part in _split(text))):
            raise ValueError("must be comma-separated pairs name=value, such as seed=0,backbone=resnet18")
        return text

    @property
    def tag_values(self) -> dict[str, str]:
        """Return the requested value of each tag."""
        pairs = (part.partition("=") for part in _split(self.tags))
        return {name.strip(): value.strip() for name, _, value in pairs}


def _split(text: str) -> list[str]:
    return text.split(",") if text.strip() else []
