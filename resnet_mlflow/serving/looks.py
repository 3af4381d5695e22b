"""Number of decisions made for a model on one test split, and the level of the next one."""

from collections.abc import Collection
from dataclasses import dataclass

# Two-sided chance that the first decision on a test split finds a difference between equal classifiers.
LEVEL = 0.05


@dataclass(frozen=True)
class Look:
    """One decision on a test split, or on the images of a cross-validation.

    Attributes:
        candidate: ID of the candidate's run.
        champion: ID of the run that it was compared with.
        metric: Metric of the comparison.
        number: Number of the decision, from 1.
    """

    candidate: str
    champion: str
    metric: str
    number: int = 1


def number_of_look(known: Collection[Look], candidate: str, champion: str, metric: str) -> int:
    """Return the number of the next decision on its test split; repeating a question does not count as a new one.

    Args:
        known: Decisions on this test split so far, in any order.
        candidate: ID of the candidate's run.
        champion: ID of the run that it is compared with.
        metric: Metric of the comparison.

    Example:
        >>> known = [Look("b", "a", "accuracy", 1), Look("c", "a", "accuracy", 2)]
        >>> number_of_look(known, "c", "a", "accuracy"), number_of_look(known, "c", "a", "balanced_accuracy")
        (2, 3)
    """
    asked = (candidate, champion, metric)
    for look in known:
        if (look.candidate, look.champion, look.metric) == asked:
            return look.number
    # Versions from before this was counted have no number; each of them was at least one look.
    return 1 + max(len(set(known)), *(look.number for look in known), 0)


def level_of_look(look: int) -> float:
    """Return the two-sided level of the ``look``-th decision on one test split, ``0.05 * 2 / (look * (look + 1))``.

    The first has 0.05, like a single decision. The sum over all possible decisions is 0.1: however often a test split
    is used, the probability that a champion is replaced by a candidate that is no better is at most 5 %.

    References:
        Dunn (1961), Multiple Comparisons among Means, for Bonferroni's bound on levels that need not be equal.

    Example:
        >>> [round(level_of_look(look), 4) for look in (1, 2, 3, 10)]
        [0.05, 0.0167, 0.0083, 0.0009]
    """
    return LEVEL * 2 / (look * (look + 1))


def level_of_alarm(look: int, false_alarms: float) -> float:
    """Return the level of the ``look``-th look at images for changes, ``false_alarms / (look * (look + 1))``.

    The sum over all possible looks is ``false_alarms``: this bounds the probability of any false alarm, for any number
    of looks and any dependence between them.

    References:
        Dunn (1961), as for ``level_of_look``.

    Example:
        >>> [round(level_of_alarm(look, 0.05), 5) for look in (1, 2, 10, 52)]
        [0.025, 0.00833, 0.00045, 2e-05]
    """
    return false_alarms * level_of_look(look) / (2 * LEVEL)


def looks_in_words(look: int) -> str:
    """Return a sentence on the number of decisions made on the version's test split; 0 means none yet."""
    if look == 0:
        return "No decision was made on the test split: there was no champion to compare with."
    return (
        f"Decision {look} on this test split for this model, at level {level_of_look(look):.4g}; the next decision "
        f"uses a stricter level, so that all decisions together have at most a 5 % chance of promoting a classifier "
        f"that is not better."
    )
