"""Checks values against a configuration model; a broken rule is reported in one line."""

import typing
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from resnet_mlflow.config.base import Config
from resnet_mlflow.errors import InputError, nearest, shown

ConfigT = TypeVar("ConfigT", bound=Config)

# Maximum number of broken rules reported at once.
SHOWN = 5

# Pydantic's error types as the rule that was broken; other types keep pydantic's own message.
RULES = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "literal_error": "must be one of {expected}",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "missing": "is required",
}


def validate(config_class: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Return ``config_class(**values)``, or refuse in one line.

    Raises:
        InputError: If a value breaks its rule; the line names parameter, rule and value.
    """
    try:
        return config_class(**values)
    except ValidationError as error:
        problems = error.errors()
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        text = "; ".join(_one_line(detail, config_class) for detail in problems[:SHOWN])
        raise InputError(f"{text}{more}") from None


def unknown_parameter(argument: str, config_class: type[Config]) -> str:
    """Return the error line for an unknown parameter, with the nearest known name."""
    name = argument.lstrip("-").split("=")[0]
    if not argument.startswith("-"):
        return f"parameters must be written as --name value, got {shown(argument)}"
    known = config_class.model_fields
    return f"unknown parameter {shown(name)}{nearest(name[:100], known)}; valid parameters: {', '.join(known)}"


def _one_line(detail: ErrorDetails, config_class: type[Config]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return unknown_parameter(f"--{name}", config_class)
    if detail["type"] == "value_error":
        message = str(detail["ctx"]["error"])
        # A rule over several parameters names them itself.
        return f"{name} {message}, got {shown(detail['input'])}" if name else message
    rule = RULES.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
    value = detail["input"]
    hint = _choice_hint(str(value)[:100], detail, config_class) if detail["type"] == "literal_error" else ""
    return f"{name[:100]} {' '.join(rule.split())}, got {shown(value)}{hint}"


def _choice_hint(value: str, detail: ErrorDetails, config_class: type[Config]) -> str:
    field = config_class.model_fields.get(str(detail["loc"][0]))
    choices = detail.get("ctx", {}).get("choices") or (typing.get_args(field.annotation) if field else ())
    return nearest(value, map(str, choices))
