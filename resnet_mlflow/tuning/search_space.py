"""Search spaces of hyperparameters: read from YAML and checked against their head."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, field_validator, model_validator

from resnet_mlflow.config import Config, FinetuneConfig, TrainingConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError, nearest, shown
from resnet_mlflow.files.bounded_yaml import read_yaml_file
from resnet_mlflow.files.paths import is_file
from resnet_mlflow.heads import build_head, describe_params, head_class, with_numbers
from resnet_mlflow.registry.heads import HEADS

if TYPE_CHECKING:
    from optuna.trial import Trial

FINETUNE_SPACES = """
finetune:
  train_layers: [fc, layer4, layer3+, all]
  learning_rate: {low: 0.0001, high: 0.03, log: true}
  weight_decay: {low: 0.000001, high: 0.01, log: true}
  augmentation: [none, flip, crop]
"""
GRID_POINTS = 5
MAX_POINTS = 100_000

Value = str | int | float


class Parameter(Config):
    """What one hyperparameter may be: one of ``choices``, or a number from ``low`` to ``high``."""

    choices: tuple[Value, ...] = Field((), description="The values that it may have.")
    low: float | None = Field(None, allow_inf_nan=False, description="Smallest value.")
    high: float | None = Field(None, allow_inf_nan=False, description="Largest value.")
    log: bool = Field(False, description="Whether to search on a logarithmic scale.")
    integer: bool = Field(False, description="Whether only whole numbers are allowed.")
    grid: int = Field(GRID_POINTS, ge=2, le=1000, description="Number of values in a range for sampler=grid.")
    when: dict[str, tuple[Value, ...]] = Field(
        {}, description="Values of earlier parameters under which this one is used."
    )

    @field_validator("choices", mode="before")
    @classmethod
    def _choices_stay_as_written(cls, choices: Any) -> Any:
        if isinstance(choices, list | tuple) and any(isinstance(value, bool | dict | list) for value in choices):
            raise ValueError("must be strings or numbers")
        return choices

    @model_validator(mode="after")
    def _is_choices_or_a_range(self) -> "Parameter":
        if self.choices:
            if (self.low, self.high) != (None, None):
                raise ValueError("must be choices, or low and high, got both")
            if len(set(self.choices)) < len(self.choices):
                raise ValueError(f"choices must not repeat a value, got {list(self.choices)}")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"must be choices, or low and a larger high, got low {self.low} and high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 if log is true, got {self.low:g}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(
                f"low and high must be whole numbers if integer is true, got {self.low:g} and {self.high:g}"
            )
        return self

    def points(self) -> tuple[Value, ...]:
        """Return the values of a grid: the choices, or numbers from ``low`` to ``high`` at equal steps.

        Example:
            >>> Parameter(low=0.01, high=100, log=True, grid=3).points()
            (0.01, 1.0, 100.0)
        """
        if self.low is None or self.high is None:
            return self.choices
        shares = [step / (self.grid - 1) for step in range(self.grid)]
        if self.log:
            values = [math.exp(math.log(self.low) * (1 - t) + math.log(self.high) * t) for t in shares]
        else:
            values = [self.low * (1 - t) + self.high * t for t in shares]
        # Rounded, since exp and log leave spurious digits: 0.9999999999999998.
        rounded = [min(max(float(f"{value:.10g}"), self.low), self.high) for value in values]
        return tuple(dict.fromkeys(round(value) for value in rounded)) if self.integer else tuple(rounded)

    def extremes(self) -> tuple[Value, ...]:
        """Return the values whose validity implies that of all values."""
        if self.low is None or self.high is None:
            return self.choices
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Return whether a value is in the parameter's space.

        Example:
            >>> Parameter(low=1, high=5, integer=True).contains(3), Parameter(choices=("rbf",)).contains("poly")
            (True, False)
        """
        if self.low is None or self.high is None:
            return value in self.choices
        return isinstance(value, int if self.integer else int | float) and self.low <= value <= self.high

    def suggest(self, name: str, trial: "Trial") -> Value:
        """Return the value that an Optuna trial suggests."""
        if self.low is None or self.high is None:
            choice: Any = trial.suggest_categorical(name, self.choices)
            return choice  # type: ignore[no-any-return]
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def is_read(self, chosen: Mapping[str, Any]) -> bool:
        """Return whether the earlier choices require this parameter."""
        return all(chosen.get(name) in values for name, values in self.when.items())


class SearchSpace:
    """The searched parameters of one method, in order.

    Attributes:
        name: Name in errors.
        parameters: Parameters by name.
        given: Values that hold in every trial.
    """

    def __init__(self, name: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> None:
        self.name = name
        self.parameters = {key: parameter for key, parameter in parameters.items() if key not in given}
        self.given = dict(given)

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """Return an Optuna trial's suggestions for all parameters in use, and the given values."""
        chosen = dict(self.given)
        for name, parameter in self.parameters.items():
            if parameter.is_read(chosen):
                chosen[name] = parameter.suggest(name, trial)
        return chosen

    def grid(self) -> list[dict[str, Any]]:
        """Return all points of the grid, each once, without the given values.

        Raises:
            InputError: If there are too many.
        """
        points: list[dict[str, Any]] = [{}]
        for name, parameter in self.parameters.items():
            if len(points) * max(1, len(parameter.points())) > MAX_POINTS:
                raise InputError(
                    f"a grid must have at most {MAX_POINTS} points, got more in search space {self.name}; give fewer "
                    "choices, lower grid, or pass another sampler"
                )
            points = [longer for point in points for longer in self._extended(point, name, parameter)]
        return points

    def _extended(self, point: dict[str, Any], name: str, parameter: Parameter) -> list[dict[str, Any]]:
        if not parameter.is_read(self.given | point):
            return [point]
        return [{**point, name: value} for value in parameter.points()]

    def contained(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that are in the space."""
        kept: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name in values and parameter.is_read(self.given | kept) and parameter.contains(values[name]):
                kept[name] = values[name]
        return kept

    def as_dict(self) -> dict[str, Any]:
        """Return the space as JSON-like data, for detecting changes."""
        return {name: p.model_dump(mode="json", exclude_defaults=True) for name, p in self.parameters.items()}


def load_space(source: str, method: str, given: Mapping[str, Any]) -> SearchSpace:
    """Return the search space of a head, or of ``finetune``.

    Args:
        source: ``search_space`` of the configuration: empty, the name of a shipped space, or a YAML file.
        method: A head's name, or ``finetune``.
        given: Values that hold in every trial and are not searched.

    Raises:
        InputError: If the space does not exist, or does not fit the method.

    Example:
        >>> load_space("knn-dino", "knn", {}).grid()[0]
        {'preprocessing': 'none', 'metric': 'cosine', 'weights': 'softmax', 'k': 10, 'T': 0.07}
    """
    shipped = shipped_spaces()
    if not source and method not in shipped:
        raise InputError(f"head {method} needs a search space to be tuned, got none; pass search_space=FILE")
    if source in ("", *shipped):
        name, content = source or method, shipped[source or method]
        if name.split("-")[0] != method:
            fitting = [known for known in shipped if known.split("-")[0] == method]
            raise InputError(f"search_space of {method} must be one of {', '.join(fitting)} or a file, got {source!r}")
    else:
        name, content = f"{method} of {source}", _of_file(source, method, list(shipped))
    space = _parse(name, content, given)
    _check_fit(space, method)
    return space


def spaces_as_written() -> list[str]:
    """Return the YAML of the spaces of each head, then of ``finetune``, with their comments."""
    return [text.strip("\n") for text in (*(head_class(name).SEARCH_SPACES for name in HEADS), FINETUNE_SPACES)]


def shipped_spaces() -> dict[str, Any]:
    """Return the content of each search space by name: those of the heads, then of ``finetune``."""
    return _mapping(yaml.safe_load("\n".join(spaces_as_written())), "of this version")


def _of_file(source: str, method: str, shipped: list[str]) -> Any:
    if not is_file(Path(source)):
        raise InputError(
            f"search_space must be a YAML file or one of {', '.join(shipped)}, got {source!r}{nearest(source, shipped)}"
        )
    spaces = _read(Path(source))
    if method not in spaces:
        raise InputError(
            f"search_space {source} must have a space for {method}, got {', '.join(spaces) or 'none'}"
            f"{nearest(method, spaces)}"
        )
    return spaces[method]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml_file(path)
    except yaml.YAMLError as error:
        raise InputError(f"search_space {path} must be valid YAML, got: {' '.join(str(error).split())[:300]}") from None
    return _mapping(content, str(path))


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"search_space {where} must be a mapping of heads to their spaces, got {shown(content)}")
    return {str(name): with_numbers(space) for name, space in content.items()}


def _parse(name: str, content: Any, given: Mapping[str, Any]) -> SearchSpace:
    if not isinstance(content, dict) or not content:
        raise InputError(f"search space {name} must map parameters to their possible values, got {shown(content)}")
    parameters: dict[str, Parameter] = {}
    for key, entry in content.items():
        values = {"choices": entry} if isinstance(entry, list) else entry
        if not isinstance(values, dict):
            raise InputError(
                f"search space {name}: {key} must be a list, or low and high, got {shown(entry)}; write "
                f"[{shown(entry)}]"
            )
        try:
            parameters[str(key)] = validate(Parameter, values)
        except InputError as error:
            raise InputError(f"search space {name}: {key}: {error}") from None
        for earlier in parameters[str(key)].when:
            if earlier not in (*parameters, *given) or earlier == key:
                raise InputError(f"search space {name}: {key}: when must name an earlier parameter, got {earlier!r}")
    space = SearchSpace(name, parameters, given)
    if not space.parameters:
        raise InputError(f"search space {name} must have a parameter that head_params does not set, got none")
    return space


def _check_fit(space: SearchSpace, method: str) -> None:
    """Refuse names and values that the method does not accept."""
    known = list(TrainingConfig.model_fields) if method == "finetune" else list(describe_params(head_class(method)))
    for name, parameter in space.parameters.items():
        if name not in known:
            raise InputError(
                f"search space {space.name} must have parameters of {method}, got {name!r}{nearest(name, known)}; "
                f"valid parameters: {', '.join(known)}"
            )
        for value in parameter.extremes():
            try:
                try_value(method, name, value)
            except InputError as error:
                raise InputError(f"search space {space.name}: {error}") from None


def try_value(method: str, name: str, value: Value) -> None:
    """Refuse a value that a parameter of a head, or of ``finetune``, cannot have.

    Raises:
        InputError: If the value is invalid.
    """
    if method == "finetune":
        # Warm-up is checked against epochs, which come with the trial.
        validate(FinetuneConfig, {"epochs": 10_000, name: value})
    else:
        build_head(method, {name: value}, seed=0)
