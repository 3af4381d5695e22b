"""Entry point `compare`: see ``python -m entrypoints.compare --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import CompareConfig


def run(config: CompareConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from analysis.compare import run_compare

    run_compare(config)


if __name__ == "__main__":
    run_entry_point(CompareConfig, run)
