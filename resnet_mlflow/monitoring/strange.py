"""The images of a batch that differ most from those of the reference, and in which measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.monitoring.changes import CONFIDENCE, FEATURES, Change, Pool
from resnet_mlflow.monitoring.observed import PICTURES

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class StrangeImage:
    """An image that differs.

    Attributes:
        path: Path of its file, as in the batch.
        label: Class answered by the classifier.
        confidence: Probability of the most probable class.
        by: The measure in which it differs most.
        beyond: Share of the reference's images that differ less in this measure.
    """

    path: str
    label: str
    confidence: float
    by: str
    beyond: float


@dataclass(frozen=True, eq=False)
class _Tails:
    """How extreme images of a batch are in one measure.

    Attributes:
        tail: Share of the reference that is at least as extreme, ``(n_images,)``; never 0.
        distance: Distance from the reference's median in interquartile ranges; ranks images that are beyond all of it.
    """

    tail: Floats
    distance: Floats


def strangest(pool: Pool, changes: Sequence[Change], paths: Sequence[str], n_images: int) -> list[StrangeImage]:
    """Return the images that differ most, in descending order.

    They are ranked by the measures that have changed; by all measures if none has, or if only class shares have, which
    single images do not have.

    Args:
        pool: The batch, with its reference.
        changes: Results of the tests.
        paths: Paths of its images.
        n_images: Number of images to return.
    """
    known = _tails(pool)
    names = [one.name for one in changes if one.noticed and one.name in known] or list(known)
    tails, distances = (np.stack([getattr(known[name], part) for name in names]) for part in ("tail", "distance"))
    best = np.lexsort((-distances, tails), axis=0)[0]
    columns = np.arange(len(paths))
    order = np.lexsort((-distances[best, columns], tails[best, columns]))[:n_images]
    return [
        StrangeImage(
            paths[row],
            pool.reference.class_names[pool.images.labels[row]],
            round(float(pool.images.confidences[row]), 4),
            names[int(best[row])],
            round(1 - float(tails[best[row], row]), 4),
        )
        for row in order.tolist()
    ]


def _tails(pool: Pool) -> dict[str, _Tails]:
    own, batch = pool.reference.images, pool.images
    found = {CONFIDENCE: _of(own.confidences, batch.confidences)}
    witness = pool.witness(np.arange(len(batch)))
    if witness is not None:
        # On the batch's side only: an image where the reference is dense is not strange.
        found[FEATURES] = _of(witness.own, witness.other, one_sided=True)
    if own.pictures is not None and batch.pictures is not None:
        pairs = zip(PICTURES, own.pictures.T, batch.pictures.T, strict=True)
        found |= {name: _of(mine[~np.isnan(mine)], theirs) for name, mine, theirs in pairs if not np.isnan(mine).all()}
    return found


def _of(own: Floats, batch: Floats, one_sided: bool = False) -> _Tails:
    """Return how extreme images are; an image without the measure is not extreme."""
    ordered, n = np.sort(own), len(own)
    above = n - np.searchsorted(ordered, batch, "left")
    below = np.searchsorted(ordered, batch, "right")
    outside = above if one_sided else 2 * np.minimum(above, below)
    low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
    known = ~np.isnan(batch)
    tail = np.where(known, np.minimum(1, (1 + outside) / (n + 1)), 1)
    return _Tails(tail, np.where(known, np.abs(batch - middle) / max(high - low, 1e-9), 0))
