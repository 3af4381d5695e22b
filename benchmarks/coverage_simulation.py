"""Simulated classifiers of known accuracy, and how often intervals and decisions about them are correct.

Every function takes a setting and returns the share of simulations in which the interval contains the truth, or in
which a decision was made. They call the same functions as the project itself, for many simulations at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resnet_mlflow.serving.promotion import Answers, decide
from resnet_mlflow.statistics import (
    Crossed,
    Floats,
    Ints,
    Moments,
    Stratum,
    crossed_values,
    difference_p_value,
    difference_reach,
    holm,
    item_weights,
    macro_f1_interval,
    paired_p_value,
    recall_limits,
    score_reach,
    slices_p_value,
    strata_of,
)

# Size of the largest class of a long-tailed test split, divided by that of the smallest.
TAIL = 50.0
# Maximum number of values in a batch of simulations.
BATCH_VALUES = 4_000_000
# Share of the variance of an item's difficulty, on the probit scale, that is common to all seeds of one method only.
METHOD_SHARE = 0.15


@dataclass(frozen=True)
class Setting:
    """A setting to simulate.

    Attributes:
        n_items: Number of test items.
        n_classes: Number of classes; 1 means that classes are not considered.
        accuracy: Expected accuracy, averaged over classes; that of the first method if there are two.
        tail: Whether test items per class have a long tail; otherwise all classes have equally many.
        falling: Whether errors increase towards the last class; otherwise all classes have the same recall.
        hard_tail: Whether only the last fifth of the classes, those with the fewest items, has errors.
        n_seeds: Number of seeds.
        seed_deviation: Standard deviation of accuracy over seeds.
        own_share: Share of the variance of an item's difficulty, on the probit scale, that is specific to each seed.
        gain: First accuracy minus second.
        disagreement: Share of the possible items on which two classifiers differ by chance.
        held_out: Shared training items that a seed holds out, divided by those it trains on.
    """

    n_items: int
    n_classes: int = 1
    accuracy: float = 0.9
    tail: bool = False
    falling: bool = False
    hard_tail: bool = False
    n_seeds: int = 1
    seed_deviation: float = 0.0
    own_share: float = 0.35
    gain: float = 0.0
    disagreement: float = 0.5
    held_out: float = 0.0

    def support(self) -> Ints:
        """Return the number of test items of each class, ``(n_classes,)``."""
        if not self.tail:
            return np.bincount(np.arange(self.n_items) % self.n_classes, minlength=self.n_classes)
        shares = TAIL ** (-np.arange(self.n_classes) / max(self.n_classes - 1, 1))
        return np.maximum(1, np.round(shares / shares.sum() * self.n_items)).astype(np.int64)

    def recalls(self) -> Floats:
        """Return the expected recall of each class, ``(n_classes,)``."""
        steps = np.linspace(0.2, 1.8, self.n_classes) if self.falling else self._steps()
        return np.asarray(1 - np.minimum((1 - self.accuracy) * steps, 1))

    def gains(self) -> Floats:
        """Return the first recall minus the second of each class, ``(n_classes,)``."""
        return self.gain * self._steps()

    def _steps(self) -> Floats:
        if not self.hard_tail:
            return np.ones(self.n_classes)
        n_hard = max(1, self.n_classes // 5)
        return np.where(np.arange(self.n_classes) < self.n_classes - n_hard, 0.0, self.n_classes / n_hard)


@dataclass(frozen=True)
class Result:
    """The result for one setting: ``share`` is a coverage, or how often a decision was made."""

    part: str
    setting: Setting
    share: float


Simulate = Callable[[Setting, int, np.random.Generator], float]


def balanced_accuracy_coverage(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return the coverage of the interval of balanced accuracy, or of accuracy if there is one class."""
    support, recalls = setting.support(), setting.recalls()
    hits = rng.binomial(support, recalls, size=(n_simulations, len(support)))
    return _share_holding(recall_limits(hits, support), float(recalls.mean()))


def macro_f1_coverage(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return how often the interval contains the macro-F1 of the expected confusions; errors are spread evenly."""
    support, recalls = setting.support(), setting.recalls()
    n_classes = len(support)
    shares = np.repeat((1 - recalls)[:, None] / (n_classes - 1), n_classes, axis=1)
    np.fill_diagonal(shares, recalls)
    expected = shares * support[:, None]
    truth = float((2 * np.diagonal(expected) / (expected.sum(axis=0) + support)).mean())
    drawn = (rng.multinomial(support, shares) for _ in range(n_simulations))
    ends = np.array([macro_f1_interval(confusion) for confusion in drawn])
    return _share_holding((ends[:, 0], ends[:, 1]), truth)


def seeded_score_coverage(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return how often the interval over seeds and items together contains the expected accuracy."""
    weights, labels = item_weights(int(setting.support().sum()), _labels(setting))
    held = []
    for correct, _ in _seeded(setting, n_simulations, rng):
        low, high = score_reach(correct, weights, labels, setting.held_out).together
        held.append((low <= setting.accuracy) & (setting.accuracy <= high))
    return float(np.concatenate(held).mean())


def difference_coverage(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return the coverage of the interval of the difference between two runs."""
    values, _, _ = _paired_values(setting, n_simulations, rng)
    return _share_holding(difference_reach(values, 1).together, setting.gain)


def false_gains(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return how often equal methods, with one seed each, differ significantly, by both interval and test."""
    values, weights, signs = _paired_values(setting, n_simulations, rng)
    low, high = difference_reach(values, 1).together
    apart = np.flatnonzero((low > 0) | (high < 0))
    return sum(paired_p_value(signs(place), weights) < 0.05 for place in apart) / n_simulations


def seeded_difference_coverage(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return the coverage of the interval of a difference over seeds and items."""
    weights, labels = item_weights(int(setting.support().sum()), _labels(setting))
    held = []
    for first, second in _seeded(setting, n_simulations, rng):
        values = crossed_values(first - second, weights, labels)
        low, high = difference_reach(values, setting.n_seeds, setting.held_out).together
        held.append((low <= setting.gain) & (setting.gain <= high))
    return float(np.concatenate(held).mean())


def false_winners(setting: Setting, n_simulations: int, rng: np.random.Generator, n_methods: int = 3) -> float:
    """Return how often one of several equal methods over seeds is significantly better than the others, and so bold."""
    weights, labels = item_weights(int(setting.support().sum()), _labels(setting))
    found = 0
    for methods in _seeded(setting, n_simulations, rng, n_methods):
        pairs = [(i, j) for i in range(n_methods) for j in range(i)]
        values = [crossed_values(methods[i] - methods[j], weights, labels) for i, j in pairs]
        p_values = np.stack([difference_p_value(one, setting.n_seeds, setting.held_out) for one in values])
        ends = [difference_reach(one, setting.n_seeds, setting.held_out).together for one in values]
        signs = np.stack([np.where(low > 0, 1, np.where(high < 0, -1, 0)) for low, high in ends])
        adjusted = np.stack([holm(list(column)) for column in p_values.T], axis=1)
        signs = np.where(adjusted < 0.05, signs, 0)
        wins = np.zeros((n_methods, signs.shape[1]), dtype=np.int64)
        for (i, j), sign in zip(pairs, signs, strict=True):
            wins[i] += sign > 0
            wins[j] += sign < 0
        found += int((wins == n_methods - 1).any(axis=0).sum())
    return found / n_simulations


def false_slices(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return how often slices with the same accuracy differ significantly; classes serve as slices."""
    slices = np.repeat(np.arange(setting.n_classes), setting.support())
    drawn = (rng.random(len(slices)) < setting.accuracy for _ in range(n_simulations))
    return float(np.mean([slices_p_value(right, slices, seed) <= 0.05 for seed, right in enumerate(drawn)]))


def promotions(setting: Setting, n_simulations: int, rng: np.random.Generator) -> float:
    """Return how often the gate promotes a candidate that is better by the setting's gain."""
    support = setting.support()
    labels = np.repeat(np.arange(len(support)), support).astype(str)
    ids = np.arange(len(labels)).astype(str)
    metric = "accuracy" if len(support) == 1 else "balanced_accuracy"
    _, _, signs = _paired_values(setting, n_simulations, rng)
    n_promoted = 0
    for place in range(n_simulations):
        gains = signs(place)
        answers = [Answers(ids, labels, np.where(right, labels, "other")) for right in (gains >= 0, gains <= 0)]
        n_promoted += decide(*answers, metric, 0.0).promote
    return n_promoted / n_simulations


def _share_holding(limits: tuple[Floats, Floats], truth: float) -> float:
    # True values such as 0.9 have no exact floating-point representation.
    return float(np.mean((limits[0] <= truth + 1e-12) & (truth - 1e-12 <= limits[1])))


def _labels(setting: Setting) -> NDArray[np.int64] | None:
    return None if setting.n_classes == 1 else np.repeat(np.arange(setting.n_classes), setting.support())


def _paired_values(
    setting: Setting, n_simulations: int, rng: np.random.Generator
) -> tuple[Crossed, Floats, Callable[[int], Floats]]:
    """Return moments of one run's gains over another, the items' weights, and a function from simulation to gains."""
    support, gain = setting.support(), setting.gains()
    second = setting.recalls() - gain
    first = second + gain
    # Apart from the gain, each is correct alone on equally many items, at most on those that either gets wrong.
    chance = setting.disagreement * np.minimum(second, 1 - first)
    shape = (n_simulations, len(support))
    gained = rng.binomial(support, gain + chance, size=shape)
    lost = rng.binomial(support - gained, chance / (1 - gain - chance), size=shape)
    weights, _ = item_weights(int(support.sum()), np.repeat(np.arange(len(support)), support))
    strata = [_stratum(gained, lost, support, classes) for classes in strata_of(support)]
    values = Crossed(_stratum(gained, lost, support, np.arange(len(support))), tuple(strata))

    def gains(place: int) -> Floats:
        parts: list[Any] = [np.repeat([1.0, -1.0, 0.0], [b, c, n - b - c]) for b, c, n in _rows(place)]
        return np.concatenate(parts)

    def _rows(place: int) -> Iterator[tuple[int, int, int]]:
        yield from zip(gained[place], lost[place], support, strict=True)

    return values, weights, gains


def _stratum(gained: Ints, lost: Ints, support: Ints, classes: Ints) -> Stratum:
    """Return the moments of single runs' gains on some classes, ``(n_simulations,)``."""
    n, b, c = support[classes], gained[:, classes], lost[:, classes]
    influence = 1 / n / (1 / n).sum()
    mean, square = ((b - c) / n).mean(axis=1), (b + c) / n @ influence
    n_items = len(n) ** 2 / float((1 / n).sum())
    return Stratum(len(n) / len(support), n_items, Moments(mean, np.zeros(len(mean)), square, square, square))


def _seeded(
    setting: Setting, n_simulations: int, rng: np.random.Generator, n_methods: int = 2
) -> Iterator[list[Floats]]:
    """Yield batches of which items methods classify correctly, ``(n_batch, n_seeds, n_items)`` each.

    The difficulty of items has a part common to all methods, one specific to a method with all its seeds
    (``METHOD_SHARE``), and one specific to each seed (``own_share``). Seeds also shift a method's accuracy. If seeds
    share training items, a part of the shift is common, Nadeau and Bengio's ``n_test / (n_test + n_train)``.
    """
    n_seeds, n_items = setting.n_seeds, int(setting.support().sum())
    shared = setting.held_out / (1 + setting.held_out)
    size = max(1, BATCH_VALUES // (n_seeds * n_items))
    for start in range(0, n_simulations, size):
        n = min(size, n_simulations - start)
        easy = np.sqrt(1 - METHOD_SHARE - setting.own_share) * rng.standard_normal((n, 1, n_items), dtype=np.float32)
        batch = []
        for method in range(n_methods):
            accuracy = setting.accuracy - (setting.gain if method else 0.0)
            own, common = rng.standard_normal((n, n_seeds, 1)), rng.standard_normal((n, 1, 1))
            shift = setting.seed_deviation * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common)
            threshold = special.ndtri(np.clip(accuracy + shift, 1e-4, 1 - 1e-4))
            for_method = np.sqrt(METHOD_SHARE) * rng.standard_normal((n, 1, n_items), dtype=np.float32)
            noise = np.sqrt(setting.own_share) * rng.standard_normal((n, n_seeds, n_items), dtype=np.float32)
            batch.append((easy + for_method + noise < threshold).astype(np.float32))
        yield batch
