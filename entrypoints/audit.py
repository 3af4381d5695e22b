"""Entry point `audit`: see ``python -m entrypoints.audit --help``."""

from resnet_mlflow.cli import run_entry_point
from resnet_mlflow.config import AuditConfig


def run(config: AuditConfig) -> None:
    """Run the stage with a checked configuration."""
    # Imported late, so that --help and rejected parameters do not load the libraries of a stage.
    from resnet_mlflow.stages.audit import run_audit

    run_audit(config)


if __name__ == "__main__":
    run_entry_point(AuditConfig, run)
