"""A threshold of confidence above which a classifier answers, so that answers are wrong as seldom as asked for."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import Interval, accuracy_interval, proportion_upper_bound

Floats = NDArray[np.floating[Any]]

# How sure a promised error rate is. With 0.95 the rate itself is as promised in 95 % of cases, but errors that somebody
# counts on some hundred images have luck of their own: docs/decisions/0140-what-promises-are-calibrated-on.md.
CONFIDENCE = 0.99
_N_TRIED = 40
# A threshold below every confidence, which JSON can spell.
ALWAYS = -1e300


@dataclass(frozen=True)
class AnswerRule:
    """From which confidence on a classifier answers.

    Attributes:
        answer_error: Share of wrong answers that was asked for.
        confidence: How sure it is that no more are wrong.
        threshold: Confidence from which on there is an answer, on the head's own scale.
        n_images: How many images calibrated it.
        n_answered: How many of them were answered.
        n_wrong: How many answers of these were wrong.
    """

    answer_error: Annotated[float, Field(gt=0, lt=1)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    threshold: float
    n_images: int
    n_answered: int
    n_wrong: int

    @property
    def answer_rate(self) -> float:
        """Return the share of calibration images that were answered."""
        return self.n_answered / self.n_images

    @property
    def answer_rate_interval(self) -> Interval:
        """Return the 95 % interval of the share of images answered."""
        return accuracy_interval(self.n_answered, self.n_images)

    @property
    def error_bound(self) -> float:
        """Return what the share of wrong answers is at most, with ``confidence``."""
        return proportion_upper_bound(self.n_wrong, self.n_answered, self.confidence)

    def __str__(self) -> str:
        """Return the promise in words."""
        low, high = (100 * end for end in self.answer_rate_interval)
        return (
            f"answers {100 * self.answer_rate:.1f} % of images ({low:.1f} to {high:.1f} %), with at most "
            f"{100 * self.answer_error:g} % of them wrong ({self.n_wrong} of {self.n_answered} were, "
            f"{100 * self.confidence:g} % sure)"
        )


def n_answers_needed(answer_error: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest answers, all of them right, that show an error rate of no more than ``answer_error``.

    Example:
        >>> n_answers_needed(0.02), n_answers_needed(0.05)
        (228, 90)
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-answer_error))


def check_enough_to_answer(n_images: int, answer_error: float) -> None:
    """Refuse a number of calibration images that cannot show an error rate.

    Raises:
        InputError: If there are too few; says how many are needed.
    """
    needed = n_answers_needed(answer_error)
    if n_images < needed:
        raise InputError(
            f"answer_error={answer_error:g} needs at least {needed} calibration images, got {n_images}; calibrate on "
            f"more, or pass answer_error={_rate_for(n_images):.2g}"
        )


def _rate_for(n_images: int) -> float:
    # Rounded up to two digits, so that what is advised is enough.
    rate = 1 - (1 - CONFIDENCE) ** (1 / max(n_images, 1))
    return float(math.ceil(rate * 100) / 100)


@dataclass(frozen=True, eq=False)
class Confidences:
    """How sure a classifier is of images, and whether it is wrong.

    Attributes:
        values: Of the label that would be answered, see ``HeadBase.logits_and_leads``, ``(n_images,)``.
        wrong: Whether that is another than the true one, ``(n_images,)``.
    """

    values: Floats
    wrong: NDArray[np.bool_]

    @classmethod
    def of(cls, leads: Floats, answers: NDArray[np.int64], labels: NDArray[np.int64]) -> "Confidences":
        """Return those of answers.

        Args:
            leads: How sure the head is of each class, ``(n_images, n_classes)``.
            answers: Columns of the labels that would be answered, ``(n_images,)``.
            labels: Columns of the true ones, ``(n_images,)``.
        """
        return cls(leads[np.arange(len(answers)), answers], answers != labels)

    def select(self, rows: NDArray[np.int64]) -> "Confidences":
        """Return those of the given rows."""
        return Confidences(self.values[rows], self.wrong[rows])

    def from_on(self, threshold: float) -> tuple[int, int]:
        """Return how many images are answered from a threshold on, and how many of them wrongly."""
        answered = self.values >= threshold
        return int(answered.sum()), int((answered & self.wrong).sum())


def fit_answering(own: Confidences, others: Confidences, answer_error: float) -> AnswerRule:
    """Return the lowest threshold found whose answers are shown to be wrong no more often than asked for.

    Thresholds are tried by exact binomial tests, one after the other, each lower than the one before, up to the first
    that fails: so the chance that any of them is taken wrongly stays at 1 %, however many are tried. Which there are,
    and which is the first, is chosen on other images.

    Args:
        own: Of images that selected nothing.
        others: Of other images, such as those of validation.
        answer_error: Share of wrong answers, in (0, 1).

    Raises:
        InputError: If there are too few images, or the first threshold is not shown to hold.

    References:
        Angelopoulos et al. (2021), Learn then Test, section 2.3 and appendix D: fixed sequences, and their order from
        other data; Clopper and Pearson (1934), Biometrika 26; Geifman and El-Yaniv (2017), Selective Classification for
        Deep Neural Networks, for the setting.
    """
    n_images, taken = len(own.values), None
    check_enough_to_answer(n_images, answer_error)
    for threshold in _sequence(n_images, others, answer_error):
        rule = AnswerRule(answer_error, CONFIDENCE, threshold, n_images, *own.from_on(threshold))
        if rule.n_answered == 0 or rule.error_bound > answer_error:
            break
        taken = rule
    if taken is None:
        raise InputError(
            f"answer_error={answer_error:g} cannot be guaranteed: {rule.n_wrong} answers are wrong among the "
            f"{rule.n_answered} most confident of {n_images} images; pass a higher answer_error, calibrate on more "
            f"images, or use a better classifier"
        )
    return taken


def _sequence(n_images: int, others: Confidences, answer_error: float) -> list[float]:
    """Return the thresholds that are tried in turn, from the strictest on that other images let expect to hold."""
    least = min(1.0, n_answers_needed(answer_error) / n_images)
    thresholds = [*np.quantile(others.values, 1 - np.linspace(least, 1, _N_TRIED)).tolist(), ALWAYS]
    bounds = [_expected_bound(others.from_on(threshold), len(others.values), n_images) for threshold in thresholds]
    hopeful = np.flatnonzero(np.array(bounds) <= answer_error)
    return thresholds[int(hopeful[0]) if len(hopeful) else int(np.argmin(bounds)) :]


def _expected_bound(counts: tuple[int, int], n_others: int, n_images: int) -> float:
    """Return the bound on the error that so many images may be expected to show, by the counts of others."""
    n_answered, n_wrong = counts
    # Jeffreys' estimate: no error among few images is not taken for none among many.
    rate, n = (n_wrong + 0.5) / (n_answered + 1), max(1, round(n_answered / n_others * n_images))
    return proportion_upper_bound(min(n, round(rate * n)), n, CONFIDENCE)
