"""Entry point `fit_head`: see ``python -m entrypoints.fit_head --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import FitHeadConfig


def run(config: FitHeadConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.fit_head import run_fit_head

    run_fit_head(config)


if __name__ == "__main__":
    run_entry_point(FitHeadConfig, run)
