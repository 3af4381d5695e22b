"""Labels that look wrong: ranked, counted with an interval, and the classes that overlap.

The ranking is by the probability that heads which did not see an image give to its label. The count is the part of the
labels that no softmax explains: see ``count_wrong``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from resnet_mlflow.statistics import Interval, wilson_interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SHARPNESSES = np.geomspace(0.5, 2.5, 17)
_SHARES = expit(np.linspace(logit(1e-5), logit(0.6), 400))
# Of a noise of that share, how much a head has learned and says again of every image: nothing, half, all of it.
_LEARNED, _MOST_LEARNED = (0.0, 0.5, 1.0), 0.9
_N_BINS = 400
_FLOOR = 1e-7
_BLOCK = 8192
# Half of the 0.95 quantile of chi-square with one degree of freedom.
_PROFILE_DROP = 1.9207


@dataclass(frozen=True, eq=False)
class WrongLabels:
    """What seems wrong with labels, according to heads.

    Attributes:
        count: Estimated number of wrong labels.
        interval: Its 95 % interval.
        wrong: Probability that the label is wrong, ``(n_images,)``.
        self_confidence: Probability of the given label by heads that did not see the image, ``(n_images,)``.
        margin: The same less the probability of the best other class, in [-1, 1].
        suggested: Class that heads hold for likeliest, ``(n_images,)``.
    """

    count: float
    interval: Interval
    wrong: Floats
    self_confidence: Floats
    margin: Floats
    suggested: Ints

    @property
    def ranking(self) -> Ints:
        """Return rows, the most suspicious label first; equal ones by their order."""
        return np.asarray(np.argsort(self.self_confidence, kind="stable"))

    def suspects(self, judged: NDArray[np.bool_], labels: Ints) -> Ints:
        """Return as many rows as labels are estimated to be wrong, the most suspicious first; others are no suspects.

        Args:
            judged: Which images can be judged.
            labels: As given.
        """
        order = self.ranking
        order = order[judged[order] & (self.suggested[order] != labels[order])]
        return np.asarray(order[: round(self.count)])


def judge_labels(probabilities: Floats, labels: Ints) -> WrongLabels:
    """Return how suspicious each label is, and how many are wrong.

    Args:
        probabilities: By heads that did not see the image, ``(n_images, n_classes)``.
        labels: As given, ``(n_images,)``.

    References:
        Northcutt, Jiang and Chuang (2021), Confident learning, section 3 and appendix C: self-confidence and the
        normalised margin. Kuan and Mueller (2022), Model-agnostic label quality scoring, compare them.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    count, interval, wrong = count_wrong(probabilities, labels)
    return WrongLabels(count, interval, wrong, own, own - others.max(axis=1), probabilities.argmax(axis=1))


def count_wrong(probabilities: Floats, labels: Ints) -> tuple[float, Interval, Floats]:
    """Return the estimated number of wrong labels, its 95 % interval, and the probability of each to be wrong.

    A label is taken to be the true class with probability ``1 - share``, else any other class. The true class follows
    a softmax whose sharpness is fitted with the share, by maximum likelihood, so that images which are merely hard are
    not counted: those get a low probability on every side, a wrong label gets one where the head is sure. The interval
    is that of the profile likelihood. A head that was fitted on wrong labels says some of them again, which hides
    as many; how much it has learned cannot be known, so that the interval reaches from nothing to all of it.

    The share is one for all classes and images: wrong labels that concentrate on what is hard, or all say the same
    other class, are undercounted.

    Args:
        probabilities: By heads that did not see the image, ``(n_images, n_classes)``.
        labels: As given, ``(n_images,)``.

    References:
        Patrini et al. (2017), Making deep neural networks robust to label noise, section 4: forward correction.
        Wichmann and Hill (2001), The psychometric function I: a lapse rate fitted with the slope.
    """
    n_images, n_classes = probabilities.shape
    share, found = 0.0, []
    for learned in _LEARNED:
        for _ in range(2):  # the share that was learned is that of the round before
            fitted = _fit(probabilities, labels, min(_MOST_LEARNED, learned * share * n_classes / (n_classes - 1)))
            share = fitted.share
        found.append(fitted)
    middle = found[len(found) // 2]
    wrong = _posterior(middle.own, middle.share, n_classes)
    ends = [end for one in found for end in one.interval]
    # Images are whole.
    interval = (float(np.floor(n_images * min(ends))), float(np.ceil(n_images * max(ends))))
    return n_images * middle.share, interval, wrong


@dataclass(frozen=True, eq=False)
class _Fitted:
    share: float
    interval: Interval
    own: Floats


def _fit(probabilities: Floats, labels: Ints, learned: float) -> _Fitted:
    """Return the likeliest share of wrong labels where heads say that much of the noise of every image."""
    n_classes = probabilities.shape[1]
    own = _own_probabilities(probabilities, labels, learned)
    likelihood = np.stack([_log_likelihood(column, n_classes) for column in own.T])
    profile = likelihood.max(axis=0)
    best = int(profile.argmax())
    inside = np.flatnonzero(profile >= profile[best] - _PROFILE_DROP)
    # One step outwards: the ends lie between the values that were tried. The first stands for none at all.
    low, high = max(inside[0] - 1, 0), min(inside[-1] + 1, len(_SHARES) - 1)
    interval = (0.0 if low == 0 else float(_SHARES[low]), float(_SHARES[high]))
    return _Fitted(float(_SHARES[best]), interval, own[:, int(likelihood[:, best].argmax())])


def _own_probabilities(probabilities: Floats, labels: Ints, learned: float) -> Floats:
    """Return the label's probability under each sharpness, ``(n_images, n_sharpnesses)``, without learned noise."""
    n_classes = probabilities.shape[1]
    own = np.empty((len(labels), len(_SHARPNESSES)))
    for first in range(0, len(labels), _BLOCK):
        part = slice(first, first + _BLOCK)
        clean = np.maximum((probabilities[part] - learned / n_classes) / (1 - learned), _FLOOR)
        logs = np.log(clean / clean.max(axis=1, keepdims=True))
        of_label = logs[np.arange(len(logs)), labels[part]]
        for place, sharpness in enumerate(_SHARPNESSES):
            own[part, place] = np.exp(sharpness * of_label) / np.exp(sharpness * logs).sum(axis=1)
    return own


def _log_likelihood(own: Floats, n_classes: int) -> Floats:
    """Return the log-likelihood of the labels under each of ``_SHARES``, by bins of their probabilities."""
    place = np.clip(logit(np.clip(own, 1e-9, 1 - 1e-9)), -16, 16)
    bins = np.minimum(((place + 16) / 32 * _N_BINS).astype(np.int64), _N_BINS - 1)
    counts = np.bincount(bins, minlength=_N_BINS)
    means = np.divide(np.bincount(bins, own, _N_BINS), counts, out=np.zeros(_N_BINS), where=counts > 0)
    filled = counts > 0
    shares = _SHARES[:, None]
    chance = (1 - shares) * means[filled] + shares * (1 - means[filled]) / (n_classes - 1)
    return np.asarray(np.log(np.maximum(chance, 1e-300)) @ counts[filled])


def _posterior(own: Floats, share: float, n_classes: int) -> Floats:
    """Return the probability that a label is wrong, given the probability of its class."""
    by_chance = share * (1 - own) / (n_classes - 1)
    return np.asarray(by_chance / np.maximum((1 - share) * own + by_chance, 1e-300))


@dataclass(frozen=True)
class Overlap:
    """Two classes that heads cannot separate well.

    Attributes:
        first: Class index.
        second: Class index above the first.
        error: Share of both classes' images that a head holds for the other of the two rather than for its own; 0.5
            would be guessing.
        interval: Its 95 % interval.
        n_images: Of both classes.
    """

    first: int
    second: int
    error: float
    interval: Interval
    n_images: int


def class_overlaps(probabilities: Floats, labels: Ints, least: float = 0.2) -> list[Overlap]:
    """Return pairs of classes whose error among the two is at least ``least`` for sure, the worst first.

    Args:
        probabilities: By heads that did not see the image, ``(n_images, n_classes)``.
        labels: As given, ``(n_images,)``.
        least: What the lower end of the interval must reach.
    """
    found = [pair for pair in _overlaps(probabilities, labels) if pair.interval[0] >= least]
    return sorted(found, key=lambda pair: -pair.error)


def _overlaps(probabilities: Floats, labels: Ints) -> Iterator[Overlap]:
    n_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels][:, None]
    # Images of each class that are held for each other class rather than for their own.
    lost = np.stack([(probabilities > own)[labels == label].sum(axis=0) for label in range(n_classes)])
    sizes = np.bincount(labels, minlength=n_classes)
    for first in range(n_classes):
        for second in range(first + 1, n_classes):
            n_images = int(sizes[first] + sizes[second])
            n_lost = int(lost[first, second] + lost[second, first])
            if n_images:
                yield Overlap(first, second, n_lost / n_images, wilson_interval(n_lost, n_images), n_images)
