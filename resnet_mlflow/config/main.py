"""Which study is run."""

from pydantic import Field

from resnet_mlflow.config.workers import WorkersConfig


class MainConfig(WorkersConfig):
    """Run a study: backbones x heads x fine-tuning x seeds, one tracked run per cell."""

    study: str = Field("digits", min_length=1, description="Name of a study in studies/, or the path of a YAML file.")
    set: str = Field(
        "",
        description="Overrides values of the study by their paths, such as seeds=[0,1],features.image_size=96; null "
        "leaves a section out.",
    )
    dataset: str = Field("", description="Overrides the study's dataset, where given.")
    cache_dir: str = Field("", description="Overrides the study's folder of the feature store, where given.")
    report_dir: str = Field(
        "report", description="Folder for the report of the experiment that the study ends with; empty means none."
    )
