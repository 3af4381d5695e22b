"""Entry point `predict`: see ``python -m entrypoints.predict --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import PredictConfig


def run(config: PredictConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.predict import run_predict

    run_predict(config)


if __name__ == "__main__":
    run_entry_point(PredictConfig, run)
