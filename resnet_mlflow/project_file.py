"""MLproject, rendered from the configuration models so that the two cannot drift apart."""

from pathlib import Path

import yaml

from resnet_mlflow.config import ENTRY_POINTS, Config

HEADER = "# Generated from resnet_mlflow/config.py by `make mlproject`; edit that file.\n"


def render_project_file() -> str:
    """Return the text of ``MLproject``."""
    project = {
        "name": "resnet-mlflow",
        "conda_env": "conda.yaml",
        "entry_points": {name: _entry_point(name, config) for name, config in ENTRY_POINTS.items()},
    }
    return HEADER + yaml.safe_dump(project, sort_keys=False, width=10_000)


def _entry_point(name: str, config_class: type[Config]) -> dict[str, object]:
    # Every type is "string": MLflow checks no other one, and would turn numbers into floats.
    parameters = {
        field_name: {"type": "string", "default": _as_text(field.default)}
        for field_name, field in config_class.model_fields.items()
    }
    arguments = " ".join(f"--{field_name} {{{field_name}}}" for field_name in parameters)
    return {"parameters": parameters, "command": f"python -m entrypoints.{name} {arguments}"}


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    Path("MLproject").write_text(render_project_file())
