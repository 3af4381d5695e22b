"""Entry point `finetune`: see ``python -m entrypoints.finetune --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import FinetuneConfig


def run(config: FinetuneConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and refusals need none of the libraries behind a stage.
    from resnet_mlflow.stages.finetune import run_finetune

    run_finetune(config)


if __name__ == "__main__":
    run_entry_point(FinetuneConfig, run)
