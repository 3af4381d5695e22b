"""Seeded, stratified splits of labelled items."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError


def split_validation(
    labels: NDArray[np.int64],
    val_fraction: float,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that train and the rows that validate, both sorted, every class in both.

    Each class gives ``round(val_fraction * n)`` of its ``n`` rows to validation, but at least one,
    and keeps at least one. Which ones depends on the seed, the class and its rows only.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        val_fraction: Share of each class that validates, in ``(0, 1)``.
        seed: What the choice depends on.
        class_names: Names of all classes: errors use them, and classes without items are refused.

    Returns:
        ``(train_rows, val_rows)``.

    Raises:
        InputError: If a class has fewer than 2 items.

    Example:
        >>> split_validation(np.array([0, 0, 0, 0, 1, 1]), val_fraction=0.5, seed=0)
        (array([1, 3, 5]), array([0, 2, 4]))
    """
    labels = np.asarray(labels)
    check_class_sizes(labels, class_names, n_min=2, purpose="to split")
    val_rows = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n_val = min(max(round(val_fraction * len(rows)), 1), len(rows) - 1)
        # A generator per class: adding a class does not move the split of the others.
        chosen = np.random.default_rng([seed, int(label)]).permutation(len(rows))[:n_val]
        val_rows.append(rows[chosen])
    is_val = np.zeros(len(labels), dtype=bool)
    is_val[np.concatenate(val_rows)] = True
    return np.flatnonzero(~is_val), np.flatnonzero(is_val)


def draw_shots(
    labels: NDArray[np.int64], shots: int, seed: int, class_names: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Return the rows of ``shots`` items per class, sorted; those of fewer shots are among those of more.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        shots: Items per class, at least 1.
        seed: What the choice depends on.
        class_names: Names of all classes, for errors.

    Raises:
        InputError: If a class has fewer than ``shots`` items.

    Example:
        >>> draw_shots(np.array([0, 0, 0, 1, 1, 1]), shots=1, seed=0)
        array([1, 3])
    """
    labels = np.asarray(labels)
    check_class_sizes(labels, class_names, n_min=shots, purpose=f"to draw {shots} shots")
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        # The 1 keeps this apart from the draw of the validation split, which has the same seed and class.
        chosen.append(rows[np.random.default_rng([seed, int(label), 1]).permutation(len(rows))[:shots]])
    return np.sort(np.concatenate(chosen))


def check_class_sizes(
    labels: NDArray[np.int64], class_names: Sequence[str] | None, n_min: int, purpose: str = "to train on"
) -> None:
    """Refuse labels where a class has too few items.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        class_names: Names of all classes; None means the indices that occur.
        n_min: Fewest items a class may have.
        purpose: Ends the rule in the message.

    Raises:
        InputError: If a class has fewer than ``n_min`` items, or there are fewer items than classes.
    """
    names = [str(label) for label in np.unique(labels)] if class_names is None else list(class_names)
    counts = (
        np.unique(labels, return_counts=True)[1] if class_names is None else np.bincount(labels, minlength=len(names))
    )
    if len(labels) == 0 or len(labels) < len(names):
        raise InputError(
            f"a dataset must have at least as many images as classes {purpose}, "
            f"got {len(labels)} for {len(names)}; add images"
        )
    small = int(np.argmin(counts))
    if counts[small] < n_min:
        raise InputError(
            f"every class must have at least {n_min} image{'s' if n_min > 1 else ''} {purpose}, "
            f"got {counts[small]} in class {names[small]!r}; add images or remove the class"
        )
