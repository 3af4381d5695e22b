"""Near-duplicates ("twins"): the same picture cropped, flipped, recompressed, resized or recoloured."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from resnet_mlflow.audit.alignment import LEAST_DETAIL, Aligner, Pairs
from resnet_mlflow.audit.neighbours import nearest
from resnet_mlflow.audit.signatures import ORIENTATIONS, oriented_signatures, signatures

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Number of neighbours of an image that are checked: by signature in each orientation, and by the network's features.
_BY_SIGNATURE, _BY_FEATURES = 6, 6
_LEAST_SIGNATURE, _LEAST_WITH_FEATURES = 0.75, 0.5
# Minimum of the shorter side in pixels: the 64 pixels of a digit are too few to tell a copy from a similar image.
LEAST_SIDE = 24
# Correlations from which a pair is examined closely, and from which it is one picture. Chosen on CIFAR-10, see
# docs/audit.md; if all pictures are similar, like digits, a pair must also stand out from its neighbours.
_LEAST_COARSE, LEAST_SCORE = 0.75, 0.92
_STANDS_OUT, _FEWEST_TO_TELL = 0.4, 6
_MOST_COMPONENTS = 64
# Orientation that undoes each one: a rotation is undone by rotating back.
_INVERSE = np.array([0, 1, 2, 3, 4, 6, 5, 7])


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs that show the same picture.

    Attributes:
        first: Rows, ``(n_pairs,)``, ascending.
        second: Rows above the first ones.
        score: Correlation of the two after alignment, in (0, 1].
        change: Visible change of one of them, in words: ``flipped``, ``cropped to 81 %``.
    """

    first: Ints
    second: Ints
    score: Floats
    change: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first)


def find_twins(
    thumbs: NDArray[np.uint8],
    features: Floats | None = None,
    usable: NDArray[np.bool_] | None = None,
    on_step: Callable[[str], object] = str,
) -> Twins:
    """Return all pairs of images that show one picture.

    Candidates are nearest neighbours, by a perceptual signature in eight orientations and by features; a pair is a twin
    if one of them, optimally cropped, has the grey values of the other except for noise.

    Args:
        thumbs: Grey copies, uint8, ``(n_images, 32, 32)``.
        features: Features of the same images, ``(n_images, n_features)``; None means that only the signature finds
            candidates.
        usable: Which images to compare, ``(n_images,)``; None means all.
        on_step: Called with the name of the next step.
    """
    on_step("finding near-duplicates")
    aligner = Aligner(thumbs)
    has_detail = aligner.detail >= LEAST_DETAIL
    pairs = _candidates(thumbs, features, has_detail if usable is None else has_detail & usable)
    on_step("comparing near-duplicates")
    coarse, window = aligner.coarse(pairs)
    usual = _usual_score(pairs, coarse, len(thumbs))
    near = np.flatnonzero(coarse >= _LEAST_COARSE)
    score, boxes = aligner.fine(pairs.select(near), window[near])
    level = np.maximum(LEAST_SCORE, 1 - _STANDS_OUT * (1 - usual[near]))
    kept = score >= level
    return _distinct(pairs.select(near[kept]), score[kept], boxes[kept], thumbs)


def twin_groups(n_images: int, first: Ints, second: Ints) -> Ints:
    """Return a group number per image, equal for images connected by twins; ``(n_images,)``."""
    links = coo_array((np.ones(len(first)), (first, second)), shape=(n_images, n_images))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def copies(item_ids: NDArray[np.str_]) -> tuple[Ints, Ints]:
    """Return pairs of rows with equal content, each with the first occurrence."""
    _, where, kind = np.unique(item_ids, return_index=True, return_inverse=True)
    second = np.flatnonzero(where[kind] != np.arange(len(item_ids)))
    return where[kind][second].astype(np.int64), second


def _candidates(thumbs: NDArray[np.uint8], features: Floats | None, usable: NDArray[np.bool_]) -> Pairs:
    """Return candidate pairs in both directions, sorted by their first rows, each once."""
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        return Pairs(*(np.zeros(0, np.int64) for _ in range(3)))
    found = signatures(thumbs[rows])
    turned = np.stack([oriented_signatures(found, index) for index in range(len(ORIENTATIONS))])
    parts = [_by_signature(found, turned)]
    if features is not None:
        parts.append(_by_features(features[rows], found, turned))
    first, second, orientation = (np.concatenate(column) for column in zip(*parts, strict=True))
    both = np.stack(
        [
            np.concatenate([first, second]),
            np.concatenate([second, first]),
            np.concatenate([orientation, _INVERSE[orientation]]),
        ],
        axis=1,
    )
    both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
    return Pairs(rows[both[:, 0]], rows[both[:, 1]], both[:, 2])


def _by_signature(found: Floats, turned: Floats) -> tuple[Ints, Ints, Ints]:
    """Return neighbours by signature: first, second, and the orientation of the second that resembles the first."""
    lists = [nearest(found, queries, _BY_SIGNATURE + 1) for queries in turned]
    near, likeness = (np.concatenate(part, axis=1) for part in zip(*lists, strict=True))
    n_each = near.shape[1] // len(turned)
    near = np.where(near == np.arange(len(found))[:, None], -1, near)
    best = np.argsort(np.where(near < 0, np.inf, -likeness), axis=1)[:, : _BY_SIGNATURE + 2]
    near, likeness, orientation = (*(np.take_along_axis(part, best, 1) for part in (near, likeness)), best // n_each)
    kept = (likeness >= _LEAST_SIGNATURE) & (near >= 0)
    second = np.broadcast_to(np.arange(len(found))[:, None], near.shape)
    return near[kept], second[kept], orientation[kept]


def _by_features(features: Floats, found: Floats, turned: Floats) -> tuple[Ints, Ints, Ints]:
    """Return neighbours by features, each in the orientation in which its signature fits best."""
    compact = compact_features(features)
    near, _ = nearest(compact, compact, _BY_FEATURES + 1)
    second = np.repeat(np.arange(len(found)), near.shape[1])
    kept = near.ravel() >= 0
    first, second = near.ravel()[kept], second[kept]
    likeness = np.stack([(found[first] * one[second]).sum(axis=1) for one in turned])
    alike = likeness.max(axis=0) >= _LEAST_WITH_FEATURES
    return first[alike], second[alike], likeness.argmax(axis=0)[alike]


def compact_features(features: Floats) -> Floats:
    """Return the principal components of features as unit vectors, without what all images share."""
    centred = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = vectors[:, ::-1][:, : min(_MOST_COMPONENTS, int((values > 1e-9 * values.max()).sum()))]
    projected = centred @ kept
    return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _usual_score(pairs: Pairs, score: Floats, n_images: int) -> Floats:
    """Return the usual score of images with their neighbours: per pair, the larger of both images' medians."""
    order = np.lexsort((score, pairs.first))
    bounds = np.searchsorted(pairs.first[order], np.arange(n_images + 1))
    middle = (bounds[:-1] + bounds[1:] - 1) // 2
    known = np.diff(bounds) >= _FEWEST_TO_TELL
    # An image with few neighbours resembles no other, and need not stand out.
    usual = np.zeros(n_images, dtype=np.float32)
    usual[known] = score[order][middle[known]]
    return np.maximum(usual[pairs.first], usual[pairs.second])


def _distinct(pairs: Pairs, score: Floats, boxes: NDArray[np.float64], thumbs: NDArray[np.uint8]) -> Twins:
    """Return each pair once, by its best comparison, sorted."""
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    order = np.lexsort((-score, high, low))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    kept = order[new]
    light = thumbs.mean(axis=(1, 2))
    change = tuple(
        _change(ORIENTATIONS[pairs.orientation[row]], boxes[row, 1] * boxes[row, 3], light[low[row]], light[high[row]])
        for row in kept
    )
    return Twins(low[kept], high[kept], score[kept], change)


def _change(orientation: str, area: float, light: float, other: float) -> str:
    changes = [orientation] if orientation else []
    if area < 0.97:
        changes.append(f"cropped to {area:.0%}".replace("%", " %"))
    if abs(light - other) > 12:
        changes.append("brightness")
    return ", ".join(changes)
