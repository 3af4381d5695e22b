"""Fields of a row of ``catalogue``. Does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Constants = tuple[float, ...]
Levels = Mapping[int, Constants]
Value = float | Constants
Values = tuple[Value, ...]
Group = Literal["benchmark", "extra", "geometric"]

SEVERITIES = (1, 2, 3, 4, 5)
TIERS = {"mild": 1, "medium": 3, "strong": 5}
RESOLUTIONS = (32, 64, 224)


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        name: Name that users write.
        group: ``benchmark`` for the published 15, used in headline scores; ``extra``, used for tuning; ``geometric``.
        family: Kind of corruption: noise, blur, weather, digital or geometric.
        function: Function as ``module:attribute``, imported on first use. It is called with uint8 images of shape (n,
            3, height, width), their ``random.ItemRandom`` and the constants, and returns images of the same kind.
        meaning: Names of the constants, in order, separated by commas.
        levels: Constants by resolution, 32, 64 and 224 pixels on the shorter side, and by severity; see ``published``
            and ``by_tier``.
    """

    name: str
    group: Group
    family: str
    function: str
    meaning: str
    levels: Mapping[int, Levels]

    def __post_init__(self) -> None:
        if self.group not in get_args(Group):
            raise ValueError(f"group must be one of {', '.join(get_args(Group))}, got {self.group!r} for {self.name!r}")
        module, colon, attribute = self.function.partition(":")
        if not (module and colon and attribute):
            raise ValueError(f"function must be module:attribute, got {self.function!r} for {self.name!r}")
        if tuple(self.levels) != RESOLUTIONS:
            raise ValueError(f"levels must be for {RESOLUTIONS}, got {tuple(self.levels)} for {self.name!r}")
        if len({tuple(levels) for levels in self.levels.values()}) > 1 or not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"levels must have the same of severities {SEVERITIES} in each table, for {self.name!r}")

    @property
    def severities(self) -> tuple[int, ...]:
        """Return its severities, ascending."""
        return tuple(self.levels[RESOLUTIONS[0]])


def published(
    name: str,
    group: Group,
    family: str,
    function: str,
    meaning: str,
    *,
    at_32: Values,
    at_64: Values,
    at_224: Values,
) -> Corruption:
    """Return a corruption of severities 1 to 5 with separate constants for each resolution.

    Args:
        name: See ``Corruption``, as for all up to ``meaning``.
        group: As above.
        family: As above.
        function: As above.
        meaning: As above.
        at_32: Five numbers, or five tuples of numbers, for images of 32 pixels.
        at_64: The same for 64 pixels.
        at_224: The same for 224 pixels.

    Raises:
        ValueError: If there are not five.
    """
    levels = {
        resolution: dict(zip(SEVERITIES, map(_constants, values), strict=True))
        for resolution, values in zip(RESOLUTIONS, (at_32, at_64, at_224), strict=True)
    }
    return Corruption(name, group, family, function, meaning, levels)


def by_tier(name: str, group: Group, family: str, function: str, meaning: str, *, tiers: Values) -> Corruption:
    """Return a corruption of severities 1, 3 and 5 with the same constants at every resolution."""
    levels = dict(zip(TIERS.values(), map(_constants, tiers), strict=True))
    return Corruption(name, group, family, function, meaning, dict.fromkeys(RESOLUTIONS, levels))


def times(n: float, *rows: Constants) -> tuple[Constants, ...]:
    """Return constants multiplied by a side."""
    return tuple(tuple(n * value for value in row) for row in rows)


def _constants(value: Value) -> Constants:
    return value if isinstance(value, tuple) else (value,)
