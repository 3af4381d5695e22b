"""A confidence threshold above which a classifier answers, so that the error rate of answers is as requested."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import Interval, accuracy_interval, proportion_upper_bound

Floats = NDArray[np.floating[Any]]

# Confidence level of a guaranteed error rate. With 0.95, the true rate is within the bound in 95 % of cases, but error
# counts on a few hundred images have their own sampling error: docs/decisions/0140-what-promises-are-calibrated-on.md.
CONFIDENCE = 0.99
_N_TRIED = 40
# A threshold that is below every confidence and that JSON can represent.
ALWAYS = -1e300


@dataclass(frozen=True)
class AnswerRule:
    """The confidence from which a classifier answers.

    Attributes:
        answer_error: Requested maximum share of wrong answers.
        confidence: Confidence level of this bound.
        threshold: Lowest confidence that is answered, on the head's own scale.
        n_images: Number of calibration images.
        n_answered: Number of them that were answered.
        n_wrong: Number of wrong answers among these.
    """

    answer_error: Annotated[float, Field(gt=0, lt=1)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    threshold: float
    n_images: int
    n_answered: int
    n_wrong: int

    @property
    def answer_rate(self) -> float:
        """Return the share of calibration images answered."""
        return self.n_answered / self.n_images

    @property
    def answer_rate_interval(self) -> Interval:
        """Return the 95 % interval of the share of images answered."""
        return accuracy_interval(self.n_answered, self.n_images)

    @property
    def error_bound(self) -> float:
        """Return the upper bound of the share of wrong answers, with ``confidence``."""
        return proportion_upper_bound(self.n_wrong, self.n_answered, self.confidence)

    def __str__(self) -> str:
        """Return the guarantee in words."""
        low, high = (100 * end for end in self.answer_rate_interval)
        return (
            f"answers {100 * self.answer_rate:.1f} % of images ({low:.1f} to {high:.1f} %), with at most "
            f"{100 * self.answer_error:g} % of them wrong ({self.n_wrong} of {self.n_answered} were, "
            f"{100 * self.confidence:g} % sure)"
        )


def n_answers_needed(answer_error: float, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of answers, all right, that shows an error rate of at most ``answer_error``.

    Example:
        >>> n_answers_needed(0.02), n_answers_needed(0.05)
        (228, 90)
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-answer_error))


def check_enough_to_answer(n_images: int, answer_error: float) -> None:
    """Refuse a number of calibration images that cannot show an error rate.

    Raises:
        InputError: If there are too few; the message gives the number needed.
    """
    needed = n_answers_needed(answer_error)
    if n_images < needed:
        raise InputError(
            f"answer_error={answer_error:g} needs at least {needed} calibration images, got {n_images}; calibrate on "
            f"more, or pass answer_error={_rate_for(n_images):.2g}"
        )


def _rate_for(n_images: int) -> float:
    # Rounded up to two digits, so that the advised number is enough.
    rate = 1 - (1 - CONFIDENCE) ** (1 / max(n_images, 1))
    return float(math.ceil(rate * 100) / 100)


@dataclass(frozen=True, eq=False)
class Confidences:
    """A classifier's confidence in images, and whether it is wrong.

    Attributes:
        values: Confidence in the label that would be answered, see ``HeadBase.logits_and_leads``, ``(n_images,)``.
        wrong: Whether that label is wrong, ``(n_images,)``.
    """

    values: Floats
    wrong: NDArray[np.bool_]

    @classmethod
    def of(cls, leads: Floats, answers: NDArray[np.int64], labels: NDArray[np.int64]) -> "Confidences":
        """Return the confidences of answers.

        Args:
            leads: The head's confidence in each class, ``(n_images, n_classes)``.
            answers: Columns of the labels that would be answered, ``(n_images,)``.
            labels: Columns of the true labels, ``(n_images,)``.
        """
        return cls(leads[np.arange(len(answers)), answers], answers != labels)

    def select(self, rows: NDArray[np.int64]) -> "Confidences":
        """Return the confidences of the given rows."""
        return Confidences(self.values[rows], self.wrong[rows])

    def from_on(self, threshold: float) -> tuple[int, int]:
        """Return the number of images answered from a threshold on, and how many of these are wrong."""
        answered = self.values >= threshold
        return int(answered.sum()), int((answered & self.wrong).sum())


def fit_answering(own: Confidences, others: Confidences, answer_error: float) -> AnswerRule:
    """Return the lowest threshold for which the requested error rate is shown to hold.

    Decreasing thresholds are tested one after the other by exact binomial tests, up to the first that fails: the chance
    that any is accepted wrongly stays at 1 %, however many are tried. The sequence and its start are chosen on other
    images.

    Args:
        own: Confidences of images that were not used for any selection.
        others: Confidences of other images, such as those of validation.
        answer_error: Requested maximum share of wrong answers, in (0, 1).

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
    """Return the thresholds to try in turn, starting with the strictest that is expected to hold from other images."""
    least = min(1.0, n_answers_needed(answer_error) / n_images)
    thresholds = [*np.quantile(others.values, 1 - np.linspace(least, 1, _N_TRIED)).tolist(), ALWAYS]
    bounds = [_expected_bound(others.from_on(threshold), len(others.values), n_images) for threshold in thresholds]
    hopeful = np.flatnonzero(np.array(bounds) <= answer_error)
    return thresholds[int(hopeful[0]) if len(hopeful) else int(np.argmin(bounds)) :]


def _expected_bound(counts: tuple[int, int], n_others: int, n_images: int) -> float:
    """Return the expected bound on the error for a number of images, from the counts of other images."""
    n_answered, n_wrong = counts
    # Jeffreys' estimate: no error among few images does not count as none among many.
    rate, n = (n_wrong + 0.5) / (n_answered + 1), max(1, round(n_answered / n_others * n_images))
    return proportion_upper_bound(min(n, round(rate * n)), n, CONFIDENCE)
