"""Typed values of recorded parameters: the text that MLflow stores, parsed by the project's own configuration.

``mlflow run`` records parameters as they were typed, a stage as Python prints them: ``1e-3`` and ``0.001`` are the
same value, as are ``{k: 5}`` and ``{"k": 5}``.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from resnet_mlflow.config import EXECUTION_ONLY
from resnet_mlflow.config.commands import MAPPINGS as MAPPINGS
from resnet_mlflow.config.commands import config_of as config_of
from resnet_mlflow.files.bounded_yaml import read_yaml

# Settings are compared without the seed, and without where and how fast a run was executed.
NOT_OF_THE_SETTING = EXECUTION_ONLY | {"seed"}


@cache
def defaults_of(stage: str) -> dict[str, Any]:
    """Return the defaults of a stage's parameters, for runs of versions that lacked some of them."""
    config = config_of(stage)
    return {name: field.default for name, field in config.model_fields.items()} if config else {}


@lru_cache(maxsize=65536)
def typed_value(stage: str, name: str, text: str) -> Any:
    """Return the value of a parameter's text; the text itself if the configuration cannot parse it.

    Example:
        >>> typed_value("finetune", "learning_rate", "1e-3"), typed_value("fit_head", "head_params", "{k: 5}")
        (0.001, '{"k": 5}')
    """
    if name in MAPPINGS:
        return canonical_mapping(text)
    adapter = _adapter(stage, name)
    if adapter is None:
        return text
    try:
        return adapter.validate_python(text)
    except ValidationError:
        return text


def fits(stage: str, name: str, text: str) -> bool:
    """Return whether a parameter's text is a number if the configuration requires one.

    Example:
        >>> fits("finetune", "epochs", "5"), fits("finetune", "epochs", "None"), fits("finetune", "unknown", "None")
        (True, False, True)
    """
    config = config_of(stage)
    field = config.model_fields.get(name) if config else None
    return (
        field is None
        or field.annotation not in (int, float, bool)
        or not isinstance(typed_value(stage, name, text), str)
    )


def canonical_mapping(text: str) -> str:
    """Return a YAML mapping in canonical form: JSON with sorted keys."""
    try:
        return json.dumps(read_yaml(text) or {}, sort_keys=True)
    except (yaml.YAMLError, TypeError):
        return text


@cache
def _adapter(stage: str, name: str) -> TypeAdapter[Any] | None:
    config = config_of(stage)
    field = config.model_fields.get(name) if config else None
    if field is None or field.annotation is None:
        return None
    annotation: Any = field.annotation
    for rule in field.metadata:
        annotation = Annotated[annotation, rule]
    return TypeAdapter(annotation)


def setting_of(stage: str, values: Mapping[str, Any], *more: str) -> str:
    """Return 16 hexadecimal digits that are equal for runs that differ only in their seed.

    Args:
        stage: The runs' stage.
        values: Typed parameters.
        more: Other values that distinguish settings, such as the weights that were really loaded.
    """
    kept = {name: value for name, value in values.items() if name not in NOT_OF_THE_SETTING}
    content = json.dumps([stage, kept, more], sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
