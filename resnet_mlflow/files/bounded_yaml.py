"""Reads YAML from outside, protected against expansion of a few lines: aliases, depth and length are bounded."""

from pathlib import Path
from typing import Any

import yaml

MAX_CHARACTERS = 100_000
MAX_SCALAR = 1000
# Maximum number of values with aliases expanded. The largest shipped study has 200.
MAX_VALUES = 10_000
MAX_DEPTH = 20


def read_yaml(text: str) -> Any:
    """Return the content of a YAML text.

    Raises:
        yaml.YAMLError: If it is not YAML, refers to itself, or exceeds the limits.

    Example:
        >>> read_yaml("{C: 1, kernel: linear}")
        {'C': 1, 'kernel': 'linear'}
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"{len(text)} characters are more than {MAX_CHARACTERS}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return None
        _count(root, {}, ())
        return yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError(f"lists and mappings are nested more than {MAX_DEPTH} levels deep") from None
    except (ValueError, OverflowError) as error:  # for invalid numbers and dates
        raise yaml.YAMLError(str(error)) from None


def read_yaml_file(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        yaml.YAMLError: As ``read_yaml``; also if the file cannot be read, or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return read_yaml(file.read(MAX_CHARACTERS + 1))
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise yaml.YAMLError(error.strerror or str(error)) from None


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Return the number of values in a node with its aliases expanded."""
    if id(node) in above:
        raise yaml.YAMLError(f"a value refers to itself in line {node.start_mark.line + 1}")
    if len(above) > MAX_DEPTH:
        raise RecursionError
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MAX_SCALAR:
            raise yaml.YAMLError(f"a value of {len(node.value)} characters in line {node.start_mark.line + 1}")
        return 1
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known, (*above, id(node))) for part in parts)
    if known[id(node)] > MAX_VALUES:
        raise yaml.YAMLError(f"more than {MAX_VALUES} values, with aliases written out")
    return known[id(node)]
