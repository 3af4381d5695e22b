"""Entry point `finetune`: see ``python -m entrypoints.finetune --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import FinetuneConfig
from resnet_mlflow.process import rank


def run(config: FinetuneConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    if rank():
        from resnet_mlflow.stages.network_runs import assist_training

        assist_training(config)
        return
    from resnet_mlflow.stages.finetune import run_finetune

    run_finetune(config)


if __name__ == "__main__":
    run_entry_point(FinetuneConfig, run)
