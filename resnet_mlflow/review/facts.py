"""Facts about a run that a reviewer would ask for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Share of a searched range at each end that counts as its edge. Samplers rarely hit the end itself.
EDGE = 0.05


@dataclass(frozen=True)
class Searched:
    """A chosen number, and the range searched for it.

    Attributes:
        name: Name of the parameter.
        value: The chosen value.
        low: Smallest value tried, or possible.
        high: Largest value.
        log: Whether the search is on a logarithmic scale.
        margin: Share of the range at each end that counts as its edge; 0 for a grid.
        open_below: Whether the parameter may be below ``low``: its own limit is not an edge that could be moved.
        open_above: The same for ``high``.
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
        """Return ``low`` or ``high`` if the value is at an edge that could be moved, else an empty text.

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
    """Facts about a run to review; those that do not apply keep their default.

    Attributes:
        class_counts: Images per class, of shape (n_classes,), by split: train, val, test.
        class_names: Names of the classes.
        scarce_by_design: Whether classes have few training images on purpose: few-shot, long tail.
        temperature_bound: ``low`` or ``high`` if calibration ended at that end of its range.
        searched: Numbers chosen on validation data.
        n_trials: Number of complete trials.
        n_judged_on: Number of validation images used to evaluate each of them.
        val_accuracy: Validation accuracy of the chosen one, in [0, 1].
        seen_before: Number of held-out images that are copies of, or in one group with, images of an earlier split, and
            the total of the held-out split; by pair, such as ``train/test``.
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
