"""The command that repeats a run."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from resnet_mlflow.config import ENTRY_POINTS, Config
from resnet_mlflow.errors import InputError

# Parameters that hold a mapping as YAML.
MAPPINGS = frozenset({"head_params"})


def config_of(stage: str) -> type[Config] | None:
    """Return the configuration class of a stage, or None if the stage is unknown."""
    return ENTRY_POINTS.get({"study": "main"}.get(stage, stage))


def command_of(stage: str, config: Mapping[str, Any]) -> list[str]:
    """Return the arguments after ``python`` that run an entry point with a configuration; defaults are omitted.

    Args:
        stage: Value of the ``stage`` tag.
        config: The run's typed parameters.

    Raises:
        InputError: If no entry point makes runs of this stage.

    Example:
        >>> shlex.join(command_of("fit_head", {"head": "knn", "seed": 1, "weights": "auto"}))
        '-m entrypoints.fit_head --seed 1 --head knn'
    """
    model = config_of(stage)
    if model is None:
        raise InputError(f"a run must come from an entry point to be repeated, got stage {stage!r}; repeat its parent")
    arguments = ["-m", f"entrypoints.{entry_point(stage)}"]
    for name, field in model.model_fields.items():
        value = config.get(name, field.default)
        if value != field.default and not (name in MAPPINGS and value == json.dumps({})):
            arguments += [f"--{name}", text_of(value)]
    return arguments


def project_command(stage: str, config: Mapping[str, Any]) -> str:
    """Return the same as a command of ``mlflow run``."""
    arguments = command_of(stage, config)[2:]
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    given = [part for name, value in pairs for part in ("-P", f"{name.removeprefix('--')}={value}")]
    return shlex.join(["mlflow", "run", ".", "-e", entry_point(stage), *given])


def entry_point(stage: str) -> str:
    """Return the entry point of a stage."""
    return {"study": "main"}.get(stage, stage)


def text_of(value: Any) -> str:
    """Return a parameter's value as text for the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
