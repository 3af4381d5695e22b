"""Entry point `compare`: see ``python -m entrypoints.compare --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import CompareConfig


def _stage(config: CompareConfig) -> None:
    # Imported late, so that --help and refusals need none of the libraries behind a stage.
    from analysis.compare import run_compare

    run_compare(config)


if __name__ == "__main__":
    run_entry_point(CompareConfig, _stage)
