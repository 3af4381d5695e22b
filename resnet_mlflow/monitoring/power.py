"""The number of images needed to detect a change, measured on batches of changed images, and false alarms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnet_mlflow.monitoring.changes import FEWEST, Pool

TARGET_POWER = 0.8
N_BATCHES = 20
N_NULL_BATCHES = 200
_WORDS = {1: "mild", 3: "medium", 5: "strong"}


@dataclass(frozen=True)
class Curve:
    """How often a corruption is detected.

    Attributes:
        corruption: Its name.
        severity: From 1 to 5.
        n_images: Batch sizes, ascending, up to the first at which it was always detected.
        power: Share of batches of each size in which it was detected.
        noticed_from: Smallest size from which it is detected in 80 % of batches; None if there is none.
    """

    corruption: str
    severity: int
    n_images: tuple[int, ...]
    power: tuple[float, ...]
    noticed_from: int | None

    @property
    def name(self) -> str:
        """Return severity and corruption in words, such as ``strong fog``."""
        return f"{_WORDS[self.severity]} {self.corruption.replace('_', ' ')}"


@dataclass(frozen=True)
class FalseAlarms:
    """How often a change was reported without one."""

    alarms: int
    batches: int


def batch_sizes(n_images: int) -> tuple[int, ...]:
    """Return batch sizes for a number of images: at most half of them, so that batches differ.

    Example:
        >>> batch_sizes(359), batch_sizes(12)
        ((10, 20, 40, 80, 160), ())
    """
    sizes = [FEWEST]
    while sizes[-1] <= n_images // 2:
        sizes.append(2 * sizes[-1])
    return tuple(sizes[:-1])


def measure_curve(corruption: str, severity: int, pool: Pool, level: float, seed: int = 0) -> Curve:
    """Return how often a corruption is detected, by batch size.

    Args:
        corruption: Its name.
        severity: From 1 to 5.
        pool: Corrupted images, with the reference.
        level: Level of a look.
        seed: Seed of the draw of batches, each without repeats.
    """
    rng, sizes, power = np.random.default_rng(seed), batch_sizes(len(pool.images)), []
    for size in sizes:
        drawn = (rng.permutation(len(pool.images))[:size] for _ in range(N_BATCHES))
        power.append(float(np.mean([pool.is_noticed(rows, level) for rows in drawn])))
        if power[-1] == 1:
            break
    return Curve(corruption, severity, sizes[: len(power)], tuple(power), noticed_from(sizes, power))


def noticed_from(sizes: Sequence[int], power: Sequence[float]) -> int | None:
    """Return the smallest size from which the power is at least 80 %; None if it is lower at the largest size.

    Example:
        >>> noticed_from([10, 20, 40, 80], [0.1, 0.9, 0.7, 0.9]), noticed_from([10], [0.7])
        (80, None)
    """
    found = None
    for size, share in zip(reversed(sizes[: len(power)]), reversed(power), strict=True):
        if share < TARGET_POWER:
            break
        found = size
    return found


def count_false_alarms(pool: Pool, level: float, seed: int = 0, n_batches: int = N_NULL_BATCHES) -> FalseAlarms:
    """Return the number of batches of unchanged images in which a change is reported; sizes alternate.

    Args:
        pool: Unchanged images, with the reference; neither was used for any choice.
        level: Level of a look.
        seed: Seed of the draw of batches, each without repeats.
        n_batches: Number of batches.
    """
    rng, sizes = np.random.default_rng(seed), batch_sizes(len(pool.images))
    drawn = (rng.permutation(len(pool.images))[: sizes[turn % len(sizes)]] for turn in range(n_batches))
    return FalseAlarms(sum(pool.is_noticed(rows, level) for rows in drawn), n_batches)


def power_as_json(curves: Sequence[Curve], false_alarms: FalseAlarms, level: float) -> dict[str, Any]:
    """Return the measurements, for people and programs."""
    return {
        "sentence": sentence_of(curves, false_alarms),
        "target_power": TARGET_POWER,
        "level": level,
        "false_alarms": asdict(false_alarms),
        "curves": [asdict(curve) for curve in curves],
    }


def sentence_of(curves: Iterable[Curve], false_alarms: FalseAlarms) -> str:
    """Return the measurements in one sentence: the mildest and the strongest severity of each corruption.

    Example:
        >>> fog = Curve("fog", 5, (10, 20), (0.2, 1.0), 20)
        >>> blur = Curve("defocus_blur", 1, (10, 20), (0.0, 0.1), None)
        >>> sentence_of([fog, blur], FalseAlarms(3, 200))
        'notices strong fog with 20 images or more; not mild defocus blur up to 20; false alarms 3 of 200 batches'
    """
    measured = list(curves)
    ends = {
        curve.corruption: [one.severity for one in measured if one.corruption == curve.corruption] for curve in measured
    }
    shown = [one for one in measured if one.severity in (min(ends[one.corruption]), max(ends[one.corruption]))]
    by_size: dict[int, list[str]] = {}
    for curve in sorted(shown, key=lambda one: (one.noticed_from or 0, -one.severity)):
        if curve.noticed_from is not None:
            by_size.setdefault(curve.noticed_from, []).append(curve.name)
    unseen = [curve for curve in shown if curve.noticed_from is None]
    parts = [_noticed(by_size)] if by_size else ["notices none of the corruptions"] if shown else []
    if unseen:
        parts.append(
            f"not {_and([curve.name for curve in unseen])} up to {max(curve.n_images[-1] for curve in unseen)}"
        )
    return "; ".join([*parts, f"false alarms {false_alarms.alarms} of {false_alarms.batches} batches"])


def _noticed(by_size: Mapping[int, Sequence[str]]) -> str:
    parts = [
        f"{_and(names)} with {size}{'' if turn else ' images or more'}"
        for turn, (size, names) in enumerate(by_size.items())
    ]
    return f"notices {', '.join(parts)}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
