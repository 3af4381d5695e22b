"""The typed parameters of a run, from which the command that repeats it is built."""

from typing import Any

from resnet_mlflow.config.commands import command_of as command_of
from resnet_mlflow.config.commands import project_command as project_command
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import load_config


def typed_config(run_id: str) -> dict[str, Any]:
    """Return the typed parameters that a run logged as ``config.json``.

    Raises:
        InputError: If there is no ``config.json``.
    """
    from mlflow.exceptions import MlflowException

    try:
        return load_config(run_id)
    except (InputError, MlflowException, OSError) as error:
        raise InputError(
            f"a run must have config.json to be explained or repeated, got run {run_id} without "
            f"({str(error).splitlines()[0][:200]}); choose a run of this project"
        ) from None
