"""Entry point `promote`: see ``python -m entrypoints.promote --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import PromoteConfig


def run(config: PromoteConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.promote import run_promote

    run_promote(config)


if __name__ == "__main__":
    run_entry_point(PromoteConfig, run)
