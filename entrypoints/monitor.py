"""Entry point `monitor`: see ``python -m entrypoints.monitor --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import MonitorConfig
from resnet_mlflow.process import ExitCode


def run(config: MonitorConfig) -> ExitCode | None:
    """Run the stage with a checked configuration; an alert has its own exit code."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.monitor import run_monitor

    return ExitCode.ALERT if run_monitor(config).alert else None


if __name__ == "__main__":
    run_entry_point(MonitorConfig, run)
