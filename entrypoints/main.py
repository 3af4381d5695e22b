"""Entry point `main`: see ``python -m entrypoints.main --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import MainConfig


def run(config: MainConfig) -> bool:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from analysis.compare import check_output, report_here
    from resnet_mlflow.stages.main import run_main

    if config.report_dir:
        check_output(config.report_dir)
    complete = run_main(config)
    if config.report_dir:
        report_here(config.report_dir)
    return complete


if __name__ == "__main__":
    run_entry_point(MainConfig, run)
