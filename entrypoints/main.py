"""Entry point `main`: see ``python -m entrypoints.main --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import MainConfig


def _stage(config: MainConfig) -> bool:
    # Imported late, so that --help and refusals need none of the libraries behind a stage.
    from resnet_mlflow.stages.main import run_main

    return run_main(config)


if __name__ == "__main__":
    run_entry_point(MainConfig, _stage)
