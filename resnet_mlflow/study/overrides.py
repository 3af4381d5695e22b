"""Command-line values that replace those of a study file: ``seeds=[0,1],features.image_size=96``."""

from typing import Any

import yaml

from resnet_mlflow.errors import InputError, shown
from resnet_mlflow.files.bounded_yaml import read_yaml

EXAMPLE = "write seeds=[0,1],features.image_size=96"
_OPENING, _CLOSING = "[{(", "]})"


def overridden(content: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a study's content with values set by path; they are validated with the rest.

    Args:
        content: Content of the file; not modified.
        text: Comma-separated ``path=value`` pairs; dots lead into sections, values are YAML, and ``null`` removes a
            section.

    Raises:
        InputError: If a pair has no path or no value, the value is not YAML, or the path leads into something that is
            not a section.

    Example:
        >>> overridden({"seeds": [0], "features": {"dataset": "digits"}}, "seeds=[0, 1],features.image_size=96")
        {'seeds': [0, 1], 'features': {'dataset': 'digits', 'image_size': 96}}
    """
    for pair in _pairs(text):
        path, separator, value = pair.partition("=")
        names = path.strip().split(".")
        if not separator or not all(names):
            raise InputError(f"set must be comma-separated pairs path=value, got {shown(pair)}; {EXAMPLE}")
        try:
            content = _put(content, names, read_yaml(value), path.strip())
        except yaml.YAMLError:
            raise InputError(
                f"set must have values in YAML, got {shown(value)} for {path.strip()}; {EXAMPLE}"
            ) from None
    return content


def _put(content: dict[str, Any], names: list[str], value: Any, path: str) -> dict[str, Any]:
    first, *rest = names
    if rest:
        section = content.get(first)
        if section is not None and not isinstance(section, dict):
            raise InputError(f"set must point into sections, got {path}, where {first} is {shown(section)}; {EXAMPLE}")
        value = _put(section or {}, rest, value, path)
    return {**content, first: value}


def _pairs(text: str) -> list[str]:
    """Return the parts between commas outside brackets and quotes."""
    pairs, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += 0 if quote else (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and depth == 0 and not quote:
            pairs.append("")
        else:
            pairs[-1] += letter
    return [pair.strip() for pair in pairs if pair.strip()]
