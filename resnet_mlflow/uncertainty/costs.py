"""Costs of mistakes, as a matrix in YAML, and the answer of lowest cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError, nearest, shown
from resnet_mlflow.files.bounded_yaml import read_yaml_file

Costs = NDArray[np.float64]


def read_costs(path: Path, class_names: Sequence[str]) -> Costs:
    """Return the cost of each answer, ``(n_classes, n_classes)``: rows are true classes, columns answers.

    Args:
        path: A YAML file: a list of lists of numbers in the order of the classes, or a mapping of true classes to
            mappings of answers to costs. Entries missing in a mapping cost 1, and right answers 0.
        class_names: Names of the classes 0, 1, ...

    Raises:
        InputError: If the file is not a matrix, has another shape, or names an unknown class.
    """
    try:
        content = read_yaml_file(path)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"costs must be a YAML file, got {path} ({reason}); write a matrix") from None
    costs = _of_mapping(content, class_names) if isinstance(content, dict) else _of_lists(content, class_names)
    if not (np.isfinite(costs).all() and (costs >= 0).all()):
        raise InputError("costs must be numbers of at least 0, got others; write 0 for no cost")
    if not (np.diag(costs)[:, None] <= costs).all() or (costs == np.diag(costs)[:, None]).all():
        raise InputError(
            "costs must be lowest for the correct answer and not all equal, got others; write 0 for the correct answer"
        )
    return costs


def _of_lists(content: Any, class_names: Sequence[str]) -> Costs:
    n = len(class_names)
    rows = content if isinstance(content, list) else []
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(rows) != n or widths != {n}:
        got = f"{len(rows)} x {'/'.join(map(str, sorted(widths)))}" if rows else shown(content)
        raise InputError(
            f"costs must be a matrix of {n} x {n} numbers, a row per true class and a column per answer, got {got}; "
            f"the classes are {', '.join(class_names[:10])}{', ...' if n > 10 else ''}"
        )
    return np.array([[_number(value) for value in row] for row in rows])


def _of_mapping(content: Mapping[Any, Any], class_names: Sequence[str]) -> Costs:
    place = {name: index for index, name in enumerate(class_names)}
    costs = 1 - np.eye(len(place))
    for true, answers in content.items():
        row = _place(true, place)
        if not isinstance(answers, dict):
            raise InputError(f"costs of class {shown(true)} must be a mapping of answers, got {shown(answers)}")
        for answer, cost in answers.items():
            costs[row, _place(answer, place)] = _number(cost)
    return costs


def _place(name: Any, place: Mapping[str, int]) -> int:
    # YAML reads a class called 3 as a number.
    if str(name) not in place:
        raise InputError(f"costs must name classes of the dataset, got {shown(name)}{nearest(str(name)[:100], place)}")
    return place[str(name)]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"costs must be numbers, got {shown(value)}; write 0 for no cost")
    return float(value)


def cheapest(probabilities: NDArray[np.floating[Any]], costs: Costs | None) -> NDArray[np.int64]:
    """Return the answer of lowest expected cost per image, ``(n_images,)``; without costs, the most probable class.

    References:
        Elkan (2001), The Foundations of Cost-Sensitive Learning, equation 1.

    Example:
        >>> cheapest(np.array([[0.7, 0.3]]), np.array([[0.0, 1.0], [9.0, 0.0]]))
        array([1])
    """
    return np.asarray(probabilities.argmax(axis=1) if costs is None else (probabilities @ costs).argmin(axis=1))
