"""Entry point `extract`: see ``python -m entrypoints.extract --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import ExtractConfig


def run(config: ExtractConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.extract import run_extract

    run_extract(config)


if __name__ == "__main__":
    run_entry_point(ExtractConfig, run)
