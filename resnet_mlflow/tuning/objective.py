"""What a study asks of a trial, and what the trial comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Epoch, its metrics, and the one of them that is searched for; raises where the trial is pruned.
Report = Callable[[int, Mapping[str, float], float], None]


@dataclass(frozen=True)
class Measured:
    """What a trial came to.

    Attributes:
        values: One per objective of the study.
        metrics: For its run, under the schema's names.
        step: Step of the metrics: that of the last epoch, where there are epochs.
    """

    values: tuple[float, ...]
    metrics: Mapping[str, float]
    step: int = 0


# Parameters and what epochs are reported to, to what the trial came to.
Objective = Callable[[dict[str, Any], Report], Measured]
