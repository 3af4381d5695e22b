"""Which study is run."""

from pydantic import Field

from resnet_mlflow.config.workers import WorkersConfig


class MainConfig(WorkersConfig):
    """Run a study: backbones x heads x fine-tunings x seeds, one tracked run per cell."""

    study: str = Field("digits", min_length=1, description="Name of a study in studies/, or the path of a YAML file.")
    set: str = Field(
        "",
        description="Overrides values of the study file by path, such as seeds=[0,1],features.image_size=96; null "
        "removes a section.",
    )
    dataset: str = Field("", description="Overrides the study's dataset; empty means no override.")
    cache_dir: str = Field(
        "", description="Overrides the study's cache_dir, the folder of the feature store; empty means no override."
    )
    report_dir: str = Field(
        "report", description="Folder for the report written at the end of the study; empty means no report."
    )
