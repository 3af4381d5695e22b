"""Entry point `export`: see ``python -m entrypoints.export --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import ExportConfig


def run(config: ExportConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.export import run_export

    run_export(config)


if __name__ == "__main__":
    run_entry_point(ExportConfig, run)
