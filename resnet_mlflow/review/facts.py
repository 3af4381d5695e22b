"""Facts about a run that a reviewer would ask for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Of a searched range, at each end: less than this share of it away is at the edge. Samplers rarely hit the end itself.
EDGE = 0.05


@dataclass(frozen=True)
class Searched:
    """A number that was chosen, and where it was looked for.

    Attributes:
        name: Of the parameter.
        value: What was chosen.
        low: Smallest value tried, or that could have been.
        high: Largest.
        log: Whether to search on a logarithmic scale.
        margin: Share of the range at each end that counts as its edge; 0 where values stand on a grid.
        open_below: Whether the parameter may be below ``low``: its own limit is no edge that could be moved.
        open_above: The same of ``high``.
    """

    name: str
    value: float
    low: float
    high: float
    log: bool = False
    margin: float = EDGE
    open_below: bool = True
    open_above: bool = True

    @property
    def edge(self) -> str:
        """Return ``low`` or ``high`` where the value lies at an edge that could be moved, else an empty text.

        Example:
            >>> Searched("C", 80_000, 1e-6, 1e5, log=True).edge, Searched("k", 1, 1, 200, open_below=False).edge
            ('high', '')
        """
        low, value, high = (math.log(x) if self.log else x for x in (self.low, self.value, self.high))
        reach = self.margin * (high - low)
        if self.open_below and value - low <= reach:
            return "low"
        return "high" if self.open_above and high - value <= reach else ""


@dataclass(frozen=True)
class RunFacts:
    """What is to be reviewed of a run; what does not apply to it stays at its default.

    Attributes:
        class_counts: Images per class, of shape (n_classes,), by split: train, val, test.
        class_names: Of the classes.
        scarce_by_design: Whether classes were made to have few training images: few-shot, long tail.
        temperature_bound: ``low`` or ``high`` where calibration ended at that end of its range.
        searched: Numbers that validation chose.
        n_trials: Trials that came to their end.
        n_judged_on: Validation images that each of them was judged on.
        val_accuracy: Accuracy of the chosen one on validation, in [0, 1].
        seen_before: Held-out images that are copies of, or of one group with, images of an earlier split, over all of
            the held-out split; by pair, such as ``train/test``.
    """

    class_counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    scarce_by_design: bool = False
    temperature_bound: str = ""
    searched: tuple[Searched, ...] = ()
    n_trials: int = 0
    n_judged_on: int = 0
    val_accuracy: float = math.nan
    seen_before: Mapping[str, tuple[int, int]] = field(default_factory=dict)
