"""Reads a study from its YAML file and checks every part before the first one runs."""

from pathlib import Path
from typing import Any

import yaml

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError, nearest, shown
from resnet_mlflow.files.bounded_yaml import read_yaml_file
from resnet_mlflow.files.paths import is_file
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.study.cells import audit_config, cells, comparisons, few_shot_cells
from resnet_mlflow.study.definition import Study
from resnet_mlflow.study.overrides import overridden
from resnet_mlflow.study.stress import check_test

STUDIES = Path(__file__).parents[2] / "studies"


def load_study(name: str, overrides: str = "") -> Study:
    """Return the study in a YAML file.

    Args:
        name: Name of a file in ``studies/`` without its suffix, or a path.
        overrides: Values that replace the file's, see ``overrides.overridden``; they are checked like the file.

    Raises:
        InputError: If the file does not exist, is not valid YAML, or a key or value breaks its rule.
    """
    shipped = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    path = STUDIES / f"{name}.yaml" if name in shipped else Path(name)
    if not is_file(path):
        raise InputError(
            f"study must be a YAML file or one of {', '.join(shipped)}, got {shown(name)}{nearest(name, shipped)}"
        )
    try:
        content = read_yaml_file(path)
    except yaml.YAMLError as error:
        raise InputError(f"study {path} must be valid YAML, got: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict):
        raise InputError(f"study {path} must be a mapping of {', '.join(Study.model_fields)}, got {shown(content)}")
    return _checked(overridden(content, overrides), path)


def _checked(content: dict[str, Any], path: Path) -> Study:
    try:
        study = validate(Study, {str(key): value for key, value in content.items()})
        if not study.heads and not study.finetune and not study.tuning:
            raise InputError("heads or finetune must name at least one method, got neither")
        list(cells(study))  # Every cell's parameters are checked before the first one runs.
        list(few_shot_cells(study))
        audit_config(study)
        for name, config in comparisons(study):
            _check_methods(name, config)
        for name in study.robustness:
            check_test(study, name)
    except InputError as error:
        raise InputError(f"study {path}: {error}") from None
    return study


def _check_methods(name: str, config: LongtailConfig) -> None:
    from resnet_mlflow.longtail.selection import select_methods

    try:
        select_methods(config.methods, config.head)
        build_head(config.head, parse_head_params(config.head_params), config.seed)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
