"""The training rows of each epoch: as many as there are items, drawn by the seed and the epoch's number."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.weights import Floats, checked_counts

Rows = NDArray[np.int64]
RowSampler = Callable[[int], Rows]

ROWS = 10  # stream of random numbers of one epoch, besides those of training


def class_probabilities(counts: ArrayLike, power: float) -> Floats:
    """Return the share of each class among the drawn rows, proportional to ``n_c ** power``.

    Args:
        counts: Training images by class, of shape (n_classes,).
        power: 1 draws images uniformly, 0 draws classes uniformly.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, equation 1.

    Example:
        >>> class_probabilities([9, 1], power=0.5).tolist()
        [0.75, 0.25]
    """
    shares = checked_counts(counts) ** power
    return np.asarray(shares / shares.sum())


def progressive_probabilities(counts: ArrayLike, epoch: int, n_epochs: int) -> Floats:
    """Return an epoch's class shares, from uniform over images in the first to uniform over classes in the last.

    Args:
        counts: Training images by class, of shape (n_classes,).
        epoch: Number of the epoch, from 1.
        n_epochs: Number of training epochs.

    References:
        Kang et al. (2020), Decoupling Representation and Classifier for Long-Tailed Recognition, equation 2.

    Example:
        >>> [progressive_probabilities([9, 1], epoch, 3).round(2).tolist() for epoch in (1, 2, 3)]
        [[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]]
    """
    progress = (epoch - 1) / max(1, n_epochs - 1)
    by_image, by_class = class_probabilities(counts, 1.0), class_probabilities(counts, 0.0)
    return np.asarray((1 - progress) * by_image + progress * by_class)


def draw_rows(
    labels: NDArray[np.int64], probabilities: Floats, seed: int, epoch: int, n_rows: int | None = None
) -> Rows:
    """Draw rows with replacement: first a class by its probability, then an image.

    Args:
        labels: Class indices, of shape (n_items,).
        probabilities: Class probabilities, of shape (n_classes,).
        seed: Seed of the draw, together with the epoch's number.
        epoch: Number of the epoch, from 1.
        n_rows: Number of rows; None means the number of items.
    """
    rng = _generator(seed, epoch)
    n_rows = len(labels) if n_rows is None else n_rows
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=len(probabilities))
    starts = np.cumsum(counts) - counts
    classes = rng.choice(len(probabilities), size=n_rows, p=probabilities)
    places = (rng.random(n_rows) * counts[classes]).astype(np.int64)
    return np.asarray(order[starts[classes] + places])


def shuffled_stream(rows: Rows, n_rows: int, seed: int, epoch: int) -> Rows:
    """Return ``n_rows`` of the rows: shuffled, and reshuffled whenever they run out.

    Args:
        rows: Rows to take from, at least one.
        n_rows: Number of rows, so that the number of steps does not depend on what a resampler kept.
        seed: Seed of the order, together with the epoch's number.
        epoch: Number of the epoch, from 1.
    """
    rng = _generator(seed, epoch)
    rounds = -(-n_rows // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:n_rows]


def balanced_rows(labels: Rows, counts: ArrayLike, n_epochs: int, seed: int, n_rows: int) -> RowSampler:
    """Return draws that are uniform over classes; see ``build_row_sampler``."""
    return _draws(labels, class_probabilities(counts, 0.0), seed, n_rows)


def sqrt_rows(labels: Rows, counts: ArrayLike, n_epochs: int, seed: int, n_rows: int) -> RowSampler:
    """Return draws of classes by the square root of their size; see ``build_row_sampler``."""
    return _draws(labels, class_probabilities(counts, 0.5), seed, n_rows)


def progressive_rows(labels: Rows, counts: ArrayLike, n_epochs: int, seed: int, n_rows: int) -> RowSampler:
    """Return draws that change from uniform over images to uniform over classes; see ``build_row_sampler``."""
    return lambda epoch: draw_rows(labels, progressive_probabilities(counts, epoch, n_epochs), seed, epoch, n_rows)


def build_row_sampler(
    parts: Sequence[str],
    labels: Rows,
    n_classes: int,
    n_epochs: int,
    seed: int,
    n_rows: int | None = None,
    params: Mapping[str, float] | None = None,
) -> RowSampler:
    """Return a function from an epoch's number, counted from 1, to its training rows, in order.

    Every method gets as many rows per epoch as there are items, so all take the same number of steps.

    Args:
        parts: The combined methods, see ``selection.method_parts``.
        labels: Class indices of the training items, of shape (n_items,).
        n_classes: Number of classes, each with at least one item.
        n_epochs: Number of training epochs.
        seed: Seed of the draws.
        n_rows: Rows per epoch; None means the number of items.
        params: Hyperparameters by name; omitted ones have the method's default.

    Raises:
        InputError: If one of the methods creates new items, which have no row.
    """
    n_rows = len(labels) if n_rows is None else n_rows
    kept = np.arange(len(labels))
    for part in parts:
        method = METHODS.find(part)
        chosen: dict[str, Any] = method.own(params or {})
        if method.kind == "synthesis":
            raise InputError(
                f"rows must be drawn from existing items, got {part!r}, which creates new ones; create them first"
            )
        if method.kind == "sampling":
            counts = np.bincount(labels, minlength=n_classes)
            sampler: RowSampler = method.build(labels, counts, n_epochs, seed, n_rows, **chosen)
            return sampler
        if method.kind == "resampling":
            kept = method.build(labels, seed, **chosen)
    return lambda epoch: shuffled_stream(kept, n_rows, seed, epoch)


def _draws(labels: Rows, probabilities: Floats, seed: int, n_rows: int) -> RowSampler:
    return lambda epoch: draw_rows(labels, probabilities, seed, epoch, n_rows)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, ROWS])
