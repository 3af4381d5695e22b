"""Entry point `longtail`: see ``python -m entrypoints.longtail --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import LongtailConfig


def run(config: LongtailConfig) -> bool:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.longtail import run_longtail

    return run_longtail(config)


if __name__ == "__main__":
    run_entry_point(LongtailConfig, run)
