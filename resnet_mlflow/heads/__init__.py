"""Heads: one scikit-learn estimator on features per file.

Nothing here imports torch; the heads that train with it do so in ``fit``.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_mlflow.errors import InputError, nearest, shown
from resnet_mlflow.registry import load
from resnet_mlflow.registry.heads import HEADS

if TYPE_CHECKING:
    from resnet_mlflow.heads.base import HeadBase

# YAML 1.1 reads a number without a dot before its exponent, such as 1e-2, as text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def head_class(name: str) -> "type[HeadBase]":
    """Return the estimator class of a head; it is imported on first use.

    Raises:
        InputError: If there is no head with that name.
    """
    found: type[HeadBase] = load(HEADS.find(name).estimator)
    return found


def build_head(name: str, params: Mapping[str, Any], seed: int) -> "HeadBase":
    """Return an unfitted head.

    Args:
        name: One of ``registry.heads.HEADS``.
        params: Its parameters; omitted ones keep the head's defaults.
        seed: Seed of the initial weights and the order of items, for heads that draw random numbers.

    Raises:
        InputError: If the name, a parameter's name or its value is not one of the head's.

    Example:
        >>> build_head("svm", {"C": 1.0}, seed=0)
        SVMHead(C=1.0)
    """
    estimator = head_class(name)
    rules = describe_params(estimator)
    listed = "; ".join(f"{param}: {rule}" for param, rule in rules.items())
    for param, value in params.items():
        if param not in rules:
            raise InputError(
                f"head_params of {name} must be among its parameters, got {shown(param)}"
                f"{nearest(str(param)[:100], rules)}; valid parameters: {listed}"
            )
        if not _fits(estimator, param, value):
            raise InputError(
                f"{param} of {name} must be {rules[param]}, got {shown(value)}; valid parameters: {listed}"
            )
    seeded = {"seed": seed} if "seed" in estimator._parameter_constraints else {}
    return estimator(**params, **seeded)


def describe_params(estimator: "type[HeadBase]") -> dict[str, str]:
    """Return the valid values of each parameter of a head, in words; the seed is not included.

    Example:
        >>> describe_params(head_class("prototype"))["metric"]
        'cosine | euclidean'
    """
    declared = {name: rules for name, rules in estimator._parameter_constraints.items() if name != "seed"}
    return {name: " or ".join(_describe(rule) for rule in rules) for name, rules in declared.items()}


def parse_head_params(text: str) -> dict[str, Any]:
    """Return the parameters in a YAML mapping; an empty text means none.

    Args:
        text: For example ``{C: 1, kernel: linear}``; numbers may be written as ``1e-2``.

    Raises:
        InputError: If the text is not a YAML mapping.

    Example:
        >>> parse_head_params("{C: 1e-2, kernel: linear}")
        {'C': 0.01, 'kernel': 'linear'}
    """
    import yaml

    from resnet_mlflow.files.bounded_yaml import read_yaml

    try:
        params = read_yaml(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"head_params must be YAML, got {shown(text)} ({reason}); for example '{{C: 1}}'") from None
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise InputError(f"head_params must be a YAML mapping, got {shown(text)}; for example '{{C: 1}}'")
    return {name: with_numbers(value) for name, value in params.items()}


def with_numbers(value: Any) -> Any:
    """Return a value that YAML read, with texts such as 1e-2 turned into numbers.

    Example:
        >>> with_numbers({"C": ["1e-2", 3]})
        {'C': [0.01, 3]}
    """
    if isinstance(value, dict):
        return {key: with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _describe(rule: Any) -> str:
    from sklearn.utils._param_validation import StrOptions, make_constraint

    if isinstance(rule, StrOptions):  # str() lists them in an order that varies from run to run
        return " | ".join(sorted(rule.options))
    return "a mapping of labels to weights" if rule is dict else str(make_constraint(rule))


def _fits(estimator: "type[HeadBase]", param: str, value: Any) -> bool:
    from sklearn.utils._param_validation import make_constraint

    if isinstance(value, bool):  # in Python, a bool is an int
        return False
    rules = estimator._parameter_constraints[param]
    return any(make_constraint(rule).is_satisfied_by(value) for rule in rules)
