"""Numbers that a study chose from a range, and whether the range ended before the parameter's own limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from resnet_mlflow.errors import InputError
from resnet_mlflow.review import Searched
from resnet_mlflow.review.facts import EDGE
from resnet_mlflow.tuning.search_space import SearchSpace, Value, try_value

# With two values, both are ends; with three, one is inside.
FEWEST_VALUES = 3
STEP = 0.01


def searched_numbers(space: SearchSpace, method: str, chosen: Mapping[str, Any], *, on_grid: bool) -> list[Searched]:
    """Return the numbers that a study chose, with the range searched for each.

    Args:
        space: The search space.
        method: A head's name, or ``finetune``, which defines the limits of its parameters.
        chosen: Values of the best trial, by name.
        on_grid: Whether ranges were searched on a grid.

    Example:
        >>> from resnet_mlflow.tuning.search_space import load_space
        >>> chosen = {"preprocessing": "l2", "C": 1e5}
        >>> [one.name for one in searched_numbers(load_space("", "svm", {}), "svm", chosen, on_grid=False)]
        ['C']
    """
    return list(_searched(space, method, chosen, on_grid))


def _searched(space: SearchSpace, method: str, chosen: Mapping[str, Any], on_grid: bool) -> Iterator[Searched]:
    for name, parameter in space.parameters.items():
        value = chosen.get(name)
        numbers = sorted(end for end in parameter.extremes() if not isinstance(end, str))
        fixed = parameter.choices and len(numbers) < FEWEST_VALUES
        if fixed or not numbers or value is None or isinstance(value, str):
            continue
        yield Searched(
            name,
            float(value),
            float(numbers[0]),
            float(numbers[-1]),
            parameter.log,
            0.0 if on_grid or parameter.choices else EDGE,
            _goes_on(method, name, _beyond(numbers[0], -1)),
            _goes_on(method, name, _beyond(numbers[-1], 1)),
        )


def _beyond(end: Value, direction: int) -> Value:
    """Return a value slightly beyond an end of a space."""
    if isinstance(end, str | int):
        return int(end) + direction
    return float(end) + direction * STEP * (abs(end) or 1)


def _goes_on(method: str, name: str, value: Value) -> bool:
    try:
        try_value(method, name, value)
    except InputError:
        return False
    return True
