"""Labels that look wrong: ranked, counted with an interval, and the classes that overlap.

The ranking uses the probability of an image's label by heads that were not fitted on it. The count is the part of the
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
# Share of the label noise that a head has learned and repeats for every image: none, half or all of it.
_LEARNED, _MOST_LEARNED = (0.0, 0.5, 1.0), 0.9
_N_BINS = 400
_FLOOR = 1e-7
_BLOCK = 8192
# Half of the 0.95 quantile of chi-square with one degree of freedom.
_PROFILE_DROP = 1.9207


@dataclass(frozen=True, eq=False)
class WrongLabels:
    """Labels that seem wrong according to heads.

    Attributes:
        count: Estimated number of wrong labels.
        interval: Its 95 % interval.
        wrong: Probability that the label is wrong, ``(n_images,)``.
        self_confidence: Probability of the given label by heads not fitted on the image, ``(n_images,)``.
        margin: The same minus the probability of the best other class, in [-1, 1].
        suggested: Most probable class according to the heads, ``(n_images,)``.
    """

    count: float
    interval: Interval
    wrong: Floats
    self_confidence: Floats
    margin: Floats
    suggested: Ints

    @property
    def ranking(self) -> Ints:
        """Return rows, the most suspicious label first; ties keep their order."""
        return np.asarray(np.argsort(self.self_confidence, kind="stable"))

    def suspects(self, judged: NDArray[np.bool_], labels: Ints) -> Ints:
        """Return as many rows as the estimated number of wrong labels, the most suspicious first.

        Args:
            judged: Which images can be judged.
            labels: Given labels.
        """
        order = self.ranking
        order = order[judged[order] & (self.suggested[order] != labels[order])]
        return np.asarray(order[: round(self.count)])


def judge_labels(probabilities: Floats, labels: Ints) -> WrongLabels:
    """Return how suspicious each label is, and how many are wrong.

    Args:
        probabilities: Probabilities by heads not fitted on the image, ``(n_images, n_classes)``.
        labels: Given labels, ``(n_images,)``.

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
    """Return the estimated number of wrong labels, its 95 % interval, and the probability that each is wrong.

    A label is modelled as the true class with probability ``1 - share``, and any other class otherwise. The true class
    follows a softmax with a sharpness that is fitted together with the share, by maximum likelihood. Images that are
    merely hard are therefore not counted: all their classes have low probabilities, whereas a wrong label has a low
    probability although the head is confident. The interval is that of the profile likelihood. A head fitted on wrong
    labels repeats some of them, which hides as many; how much it has learned is unknown, so the interval covers
    everything from none to all.

    The share is the same for all classes and images: wrong labels that concentrate on hard images, or all name the same
    other class, are undercounted.

    Args:
        probabilities: Probabilities by heads not fitted on the image, ``(n_images, n_classes)``.
        labels: Given labels, ``(n_images,)``.

    References:
        Patrini et al. (2017), Making deep neural networks robust to label noise, section 4: forward correction.
        Wichmann and Hill (2001), The psychometric function I: a lapse rate fitted with the slope.
    """
    n_images, n_classes = probabilities.shape
    share, found = 0.0, []
    for learned in _LEARNED:
        for _ in range(2):  # uses the share from the previous round
            fitted = _fit(probabilities, labels, min(_MOST_LEARNED, learned * share * n_classes / (n_classes - 1)))
            share = fitted.share
        found.append(fitted)
    middle = found[len(found) // 2]
    wrong = _posterior(middle.own, middle.share, n_classes)
    ends = [end for one in found for end in one.interval]
    # The number of images is an integer.
    interval = (float(np.floor(n_images * min(ends))), float(np.ceil(n_images * max(ends))))
    return n_images * middle.share, interval, wrong


@dataclass(frozen=True, eq=False)
class _Fitted:
    share: float
    interval: Interval
    own: Floats


def _fit(probabilities: Floats, labels: Ints, learned: float) -> _Fitted:
    """Return the maximum-likelihood share of wrong labels if heads repeat this share of the noise for every image."""
    n_classes = probabilities.shape[1]
    own = _own_probabilities(probabilities, labels, learned)
    likelihood = np.stack([_log_likelihood(column, n_classes) for column in own.T])
    profile = likelihood.max(axis=0)
    best = int(profile.argmax())
    inside = np.flatnonzero(profile >= profile[best] - _PROFILE_DROP)
    # One step outwards: the limits are between the values tried. The first means none at all.
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
    """Two classes that heads do not separate well.

    Attributes:
        first: Class index.
        second: Class index above the first.
        error: Share of both classes' images for which a head prefers the other class of the two; 0.5 would be guessing.
        interval: Its 95 % interval.
        n_images: Number of images of both classes.
    """

    first: int
    second: int
    error: float
    interval: Interval
    n_images: int


def class_overlaps(probabilities: Floats, labels: Ints, least: float = 0.2) -> list[Overlap]:
    """Return pairs of classes with an error between the two that is reliably at least ``least``, the worst first.

    Args:
        probabilities: Probabilities by heads not fitted on the image, ``(n_images, n_classes)``.
        labels: Given labels, ``(n_images,)``.
        least: Minimum lower limit of the interval.
    """
    found = [pair for pair in _overlaps(probabilities, labels) if pair.interval[0] >= least]
    return sorted(found, key=lambda pair: -pair.error)


def _overlaps(probabilities: Floats, labels: Ints) -> Iterator[Overlap]:
    n_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels][:, None]
    # Images of each class for which each other class is preferred to their own.
    lost = np.stack([(probabilities > own)[labels == label].sum(axis=0) for label in range(n_classes)])
    sizes = np.bincount(labels, minlength=n_classes)
    for first in range(n_classes):
        for second in range(first + 1, n_classes):
            n_images = int(sizes[first] + sizes[second])
            n_lost = int(lost[first, second] + lost[second, first])
            if n_images:
                yield Overlap(first, second, n_lost / n_images, wilson_interval(n_lost, n_images), n_images)
