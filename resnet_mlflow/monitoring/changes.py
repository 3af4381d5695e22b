"""Tests of whether a batch comes from the same distribution as a reference, one per kind of change, combined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.monitoring.kernel import WitnessTest, witness_test
from resnet_mlflow.monitoring.observed import PICTURES, Observed
from resnet_mlflow.monitoring.reference import Reference
from resnet_mlflow.statistics import holm

Floats = NDArray[np.floating[Any]]

FEATURES, CLASSES, CONFIDENCE = "features", "class shares", "confidence"
# Minimum size of a batch: halves of a smaller one could not show any difference at the level of a late look.
FEWEST = 10
_SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Change:
    """The result of one test.

    Attributes:
        name: The property compared.
        p_value: P value for no change.
        adjusted: The same after Holm's correction over all tests of the look.
        noticed: Whether the adjusted value is at or below the look's level.
        description: The difference in words.
    """

    name: str
    p_value: float
    adjusted: float
    noticed: bool
    description: str


@dataclass(frozen=True, eq=False)
class Pool:
    """Images of one kind, from which batches are compared with a reference.

    Attributes:
        reference: The reference.
        images: Facts about the images.
    """

    reference: Reference
    images: Observed

    @cached_property
    def _kernels(self) -> tuple[Floats, Floats] | None:
        if self.images.features is None:
            return None
        own, space = self.reference.features, self.reference.space
        return space.kernel(self.images.features, own), space.kernel(self.images.features, self.images.features)

    def witness(self, rows: NDArray[np.int64]) -> WitnessTest | None:
        """Return how the features of some of the images differ from those of the reference; None without features."""
        if self._kernels is None:
            return None
        cross, among = self._kernels
        return witness_test(self.reference.kernel, cross[rows], among[np.ix_(rows, rows)])

    def changes(self, level: float) -> list[Change]:
        """Return the result of each test on all images.

        Args:
            level: Level of the look, in [0, 1].

        References:
            Holm (1979): all tests together report a non-existent change with a probability of at most ``level``.
        """
        tests = self._tests(np.arange(len(self.images)))
        p_values = [test.p_value() for test in tests]
        return [
            Change(test.name, p_value, adjusted, adjusted <= level, test.description())
            for test, p_value, adjusted in zip(tests, p_values, holm(p_values), strict=True)
        ]

    def is_noticed(self, rows: NDArray[np.int64], level: float) -> bool:
        """Return whether any test detects a change in a batch of some of the images, like ``changes``.

        Args:
            rows: The images, at least ``FEWEST``.
            level: Level of the look, in [0, 1].
        """
        tests = self._tests(rows)
        return any(test.p_value() * len(tests) <= level for test in tests)

    def _tests(self, rows: NDArray[np.int64]) -> list["_Test"]:
        own, batch = self.reference.images, self.images.select(rows)
        numbers = {CONFIDENCE: (own.confidences, batch.confidences)}
        numbers |= {name: (own.picture(name), batch.picture(name)) for name in PICTURES}
        return [
            *([] if self.images.features is None else [_FeaturesTest(lambda: self.witness(rows))]),
            *(_NumberTest(name, *pair) for name, pair in numbers.items() if min(map(len, pair)) >= FEWEST),
            _SharesTest(own, batch, self.reference.class_names),
        ]


def is_noticed(changes: Sequence[Change]) -> bool:
    """Return whether any test has detected a change."""
    return any(change.noticed for change in changes)


class _Test(Protocol):
    """A test of one kind of change; most of its work is done on request."""

    @property
    def name(self) -> str: ...

    def p_value(self) -> float: ...

    def description(self) -> str: ...


class _FeaturesTest:
    name = FEATURES

    def __init__(self, witness: Callable[[], WitnessTest | None]) -> None:
        self._witness = witness

    @cached_property
    def _found(self) -> WitnessTest:
        found = self._witness()
        assert found is not None
        return found

    def p_value(self) -> float:
        return self._found.p_value

    def description(self) -> str:
        return f"the witness function separates {100 * self._found.ahead:.0f} % of pairs (50 % by chance)"


@dataclass(frozen=True, eq=False)
class _NumberTest:
    """The test of one number per image.

    References:
        Kolmogorov and Smirnov's two-sample test, exact up to 10 000 images: Hodges (1958), Arkiv för Matematik 3.
    """

    name: str
    own: Floats
    batch: Floats

    def p_value(self) -> float:
        from scipy.stats import ks_2samp  # slow to import

        return float(ks_2samp(self.own, self.batch).pvalue)

    def description(self) -> str:
        return f"median {np.median(self.batch):.3f}, was {np.median(self.own):.3f}"


class _SharesTest:
    name = CLASSES

    def __init__(self, own: Observed, batch: Observed, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._own, self._batch = (np.bincount(one.labels, minlength=len(class_names)) for one in (own, batch))

    @cached_property
    def _p_values(self) -> Floats:
        return shares_p_values(self._own, self._batch)

    def p_value(self) -> float:
        """Return the smallest p value of a class, times the number of classes (Bonferroni)."""
        return min(1.0, float(self._p_values.min()) * int((self._own + self._batch > 0).sum()))

    def description(self) -> str:
        first = np.argsort(self._p_values, kind="stable")[:_SHOWN_CLASSES]
        own, batch = (counts / counts.sum() for counts in (self._own, self._batch))
        return "; ".join(
            f"{self._class_names[i]}: {100 * batch[i]:.1f} %, was {100 * own[i]:.1f} %" for i in first.tolist()
        )


def shares_p_values(own: NDArray[np.int64], other: NDArray[np.int64]) -> Floats:
    """Return for each class the exact two-sided p value for equal shares in both sets, ``(n_classes,)``.

    Args:
        own: Number of images of each class in one set, ``(n_classes,)``.
        other: The same in the other.

    References:
        Fisher (1935), The Logic of Inductive Inference: counts given their sums are hypergeometric; twice the smaller
        tail.

    Example:
        >>> shares_p_values(np.array([9, 1]), np.array([1, 9])).round(4).tolist()
        [0.0011, 0.0011]
    """
    from scipy.stats import hypergeom  # slow to import

    sums = own.sum() + other.sum(), own + other, other.sum()
    return np.asarray(np.minimum(1.0, 2 * np.minimum(hypergeom.cdf(other, *sums), hypergeom.sf(other - 1, *sums))))
