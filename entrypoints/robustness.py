"""Entry point `robustness`: see ``python -m entrypoints.robustness --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import RobustnessConfig


def run(config: RobustnessConfig) -> bool:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.robustness import run_robustness

    return run_robustness(config)


if __name__ == "__main__":
    run_entry_point(RobustnessConfig, run)
