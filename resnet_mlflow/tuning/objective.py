"""The interface between a study and its trials: arguments and results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Takes an epoch, its metrics, and the one to optimise; raises if the trial is pruned.
Report = Callable[[int, Mapping[str, float], float], None]


@dataclass(frozen=True)
class Measured:
    """Result of a trial.

    Attributes:
        values: One value per objective of the study.
        metrics: Metrics for its run, under the schema's names.
        step: Step of the metrics: that of the last epoch, if there are epochs.
    """

    values: tuple[float, ...]
    metrics: Mapping[str, float]
    step: int = 0


# Maps parameters and the function for reporting epochs to the result of the trial.
Objective = Callable[[dict[str, Any], Report], Measured]
