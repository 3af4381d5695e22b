"""Seeded, stratified splits of labelled items."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.group_draws import GroupTable, are_single, draw_groups
from resnet_mlflow.errors import InputError


def split_validation(
    labels: NDArray[np.int64],
    val_fraction: float,
    seed: int,
    class_names: Sequence[str] | None = None,
    groups: NDArray[np.int64] | None = None,
    n_keep: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training rows and the validation rows, both sorted, with every class in both.

    Each class gives ``round(val_fraction * n)`` of its ``n`` rows to validation, but at least one,
    and keeps at least one. The choice depends only on the seed, the class and its rows. Groups stay whole, and each
    class gives as close to that many rows as groups allow: see ``group_draws.draw_groups``.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        val_fraction: Fraction of each class used for validation, in ``(0, 1)``.
        seed: Seed of the choice.
        class_names: Names of all classes: errors use them, and classes without items are refused.
        groups: Number of each item's group, ``(n_items,)``; None means that each item is its own group.
        n_keep: Minimum number of training groups per class.

    Returns:
        ``(train_rows, val_rows)``.

    Raises:
        InputError: If a class has fewer than 2 items, or too few groups to be on both sides.

    Example:
        >>> split_validation(np.array([0, 0, 0, 0, 1, 1]), val_fraction=0.5, seed=0)
        (array([1, 3, 5]), array([0, 2, 4]))
    """
    labels = np.asarray(labels)
    check_class_sizes(labels, class_names, n_min=2, purpose="to split")
    if groups is not None and not are_single(groups):
        is_val = _draw_whole_groups(labels, np.asarray(groups), val_fraction, seed, class_names, n_keep)
        return np.flatnonzero(~is_val), np.flatnonzero(is_val)
    val_rows = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n_val = _n_wanted(len(rows), val_fraction)
        # One generator per class: adding a class does not change the split of the others.
        chosen = np.random.default_rng([seed, int(label)]).permutation(len(rows))[:n_val]
        val_rows.append(rows[chosen])
    is_val = np.zeros(len(labels), dtype=bool)
    is_val[np.concatenate(val_rows)] = True
    return np.flatnonzero(~is_val), np.flatnonzero(is_val)


def _n_wanted(n_items: int, fraction: float) -> int:
    return min(max(round(fraction * n_items), 1), n_items - 1)


def _draw_whole_groups(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    fraction: float,
    seed: int,
    class_names: Sequence[str] | None,
    n_keep: int,
) -> NDArray[np.bool_]:
    sizes, table = np.bincount(labels), GroupTable.of(labels, groups)
    n_groups = table.groups_per_class()
    n_min, advice = n_keep + 1, "add images, remove the class, or pass another group_by"
    few = np.flatnonzero((n_groups < n_min) & (sizes > 0))
    if len(few):
        label = int(few[0])
        name = str(label) if class_names is None else class_names[label]
        raise InputError(
            f"every class must have at least {n_min} groups to split (copies are one group), got {n_groups[label]} "
            f"for {sizes[label]} images of class {name!r}; {advice}"
        )
    wanted = np.array([_n_wanted(int(size), fraction) if size else 1 for size in sizes])
    drawn = draw_groups(table, wanted, seed, n_keep)
    if drawn is None:
        raise InputError(
            f"every class must have groups on both sides of a split, got {table.n_groups} groups of "
            f"{len(sizes)} classes for which no such split was found; {advice}"
        )
    return drawn


def unbalanced(sizes: NDArray[np.int64], held_out: NDArray[np.int64], fraction: float) -> dict[int, tuple[int, int]]:
    """Return by class the actual and the intended number of held-out items, where groups make them differ.

    Args:
        sizes: Items of each class, ``(n_classes,)``.
        held_out: Items of each class that were drawn, ``(n_classes,)``.
        fraction: Requested fraction of each class.

    Example:
        >>> unbalanced(np.array([4, 2]), np.array([1, 1]), 0.5)
        {0: (1, 2)}
    """
    wanted = [_n_wanted(int(size), fraction) for size in sizes]
    pairs = zip(held_out.tolist(), wanted, strict=True)
    return {label: (got, n) for label, (got, n) in enumerate(pairs) if got != n}


def draw_shots(
    labels: NDArray[np.int64],
    shots: int,
    seed: int,
    class_names: Sequence[str] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the rows of ``shots`` items per class, sorted; a draw of fewer shots is a subset of one of more.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        shots: Items per class, at least 1.
        seed: Seed of the choice.
        class_names: Names of all classes, for errors.
        groups: Number of each item's group, ``(n_items,)``: a second item of a group is drawn only after all groups of
            the class have one, so that copies do not count as shots.

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
        # The 1 separates this from the draw of the validation split, which has the same seed and class.
        order = rows[np.random.default_rng([seed, int(label), 1]).permutation(len(rows))]
        chosen.append(one_per_group_first(order, groups)[:shots])
    return np.sort(np.concatenate(chosen))


def one_per_group_first(rows: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return rows in order, but with the first of every group before the second of any, and so on.

    Args:
        rows: Rows of a class, in the order of a draw.
        groups: Number of each item's group; None means that each item is its own group.

    Example:
        >>> one_per_group_first(np.array([3, 1, 0, 2]), np.array([7, 8, 7, 8]))
        array([3, 0, 1, 2])
    """
    if groups is None or are_single(groups[rows]):
        return rows
    _, inverse = np.unique(groups[rows], return_inverse=True)
    by_group = np.argsort(inverse, kind="stable")
    starts = np.flatnonzero(np.diff(inverse[by_group], prepend=-1))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[by_group] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    return np.asarray(rows[np.argsort(rank, kind="stable")])


def check_class_sizes(
    labels: NDArray[np.int64], class_names: Sequence[str] | None, n_min: int, purpose: str = "to train on"
) -> None:
    """Refuse labels if a class has too few items.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        class_names: Names of all classes; None means the indices that occur.
        n_min: Minimum number of items per class.
        purpose: End of the rule in the message.

    Raises:
        InputError: If a class has fewer than ``n_min`` items, or there are fewer items than classes.
    """
    names = [str(label) for label in np.unique(labels)] if class_names is None else list(class_names)
    counts = (
        np.unique(labels, return_counts=True)[1] if class_names is None else np.bincount(labels, minlength=len(names))
    )
    if len(labels) == 0 or len(labels) < len(names):
        raise InputError(
            f"a dataset must have at least as many images as classes {purpose}, got {len(labels)} for {len(names)}; "
            f"add images"
        )
    small = int(np.argmin(counts))
    if counts[small] < n_min:
        raise InputError(
            f"every class must have at least {n_min} image{'s' if n_min > 1 else ''} {purpose}, "
            f"got {counts[small]} in class {names[small]!r}; add images or remove the class"
        )
