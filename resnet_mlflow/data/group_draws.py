"""Draws of items by class that split no group; used by splits.py for items with groups."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Maximum number of draws, each starting with the classes that the one before failed to draw from.
TRIES = 20
# Maximum number of rounds over mixed groups; in each, a group changes sides if that brings sizes nearer to the target.
ROUNDS = 10


def are_single(groups: Ints | None) -> bool:
    """Return whether each group is one item, so that a draw of items splits none."""
    return groups is None or len(np.unique(groups)) == len(groups)


@dataclass(frozen=True, eq=False)
class GroupTable:
    """The number of items of each class in each group; groups are renumbered by their first items.

    Attributes:
        labels: Class indices, ``(n_items,)``.
        groups: Group numbers, ``(n_items,)``; items with equal numbers stay together.
        n_classes: Number of classes.
    """

    labels: Ints
    groups: Ints
    n_classes: int

    @classmethod
    def of(cls, labels: Ints, groups: Ints) -> "GroupTable":
        """Return the table of items, with classes up to the largest label."""
        return cls(labels, groups, int(labels.max()) + 1)

    @cached_property
    def of_item(self) -> Ints:
        """Return each item's group as a number from 0, in the order of first items."""
        _, first, inverse = np.unique(self.groups, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse.ravel()].astype(np.int64)

    @cached_property
    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """Return groups, classes and item counts, one entry per class in a group, sorted by group."""
        codes, counts = np.unique(self.of_item * self.n_classes + self.labels, return_counts=True)
        return codes // self.n_classes, codes % self.n_classes, counts.astype(np.int64)

    @cached_property
    def starts(self) -> Ints:
        """Return the start of each group's entries in ``pairs``, and the end of the last."""
        groups = self.pairs[0]
        return np.searchsorted(groups, np.arange(int(groups[-1]) + 2)).astype(np.int64)

    @cached_property
    def is_mixed(self) -> NDArray[np.bool_]:
        """Return which groups have more than one class."""
        return np.diff(self.starts) > 1

    @property
    def n_groups(self) -> int:
        """Return the number of groups."""
        return len(self.starts) - 1

    def groups_per_class(self) -> Ints:
        """Return the number of groups in which each class has items, ``(n_classes,)``."""
        return np.bincount(self.pairs[1], minlength=self.n_classes).astype(np.int64)

    def entries(self, group: int) -> tuple[Ints, Ints]:
        """Return the classes of a group and their numbers of items."""
        found = slice(self.starts[group], self.starts[group + 1])
        return self.pairs[1][found], self.pairs[2][found]

    def order(self, seed: int) -> Ints:
        """Return all groups, ordered by their first items in the draws of their classes."""
        place = np.empty(len(self.labels))
        by_class = np.argsort(self.labels, kind="stable")
        for rows in np.split(by_class, np.flatnonzero(np.diff(self.labels[by_class])) + 1):
            label = int(self.labels[rows[0]])
            drawn = rows[np.random.default_rng([seed, label]).permutation(len(rows))]
            place[drawn] = np.arange(len(rows)) / len(rows)
        first = np.unique(self.of_item, return_index=True)[1]
        return np.argsort(place[first], kind="stable").astype(np.int64)


@dataclass(eq=False)
class _Draw:
    """A draw in progress.

    Attributes:
        table: The groups.
        n_keep: Number of groups of each class that must stay.
        short: Items of each class still to draw; negative if there are too many.
        staying: Number of groups of each class that are not drawn.
        drawn: Which groups are drawn.
    """

    table: GroupTable
    n_keep: int
    wanted: Ints
    short: Ints
    staying: Ints
    drawn: NDArray[np.bool_]

    def gain(self, classes: Ints, counts: Ints) -> float:
        """Return how much drawing a group brings sizes nearer to the target, in squared relative differences."""
        return float((counts * (2 * self.short[classes] - counts) / self.wanted[classes] ** 2).sum())

    def move(self, group: int, sign: int) -> None:
        classes, counts = self.table.entries(group)
        self.short[classes] -= sign * counts
        self.staying[classes] -= sign
        self.drawn[group] = sign > 0

    def draw(self, group: int, *, at_any_price: bool = False) -> bool:
        """Draw a group if that is a gain, or ``at_any_price``, and leaves enough groups of its classes."""
        classes, counts = self.table.entries(group)
        if (self.staying[classes] <= self.n_keep).any() or not (at_any_price or self.gain(classes, counts) > 0):
            return False
        self.move(group, 1)
        return True

    def change_mixed(self, mixed: Ints) -> None:
        """Move mixed groups to the other side if that is a gain, until no move is."""
        n_drawn = self.table.groups_per_class()
        for _ in range(ROUNDS):
            changed = False
            for group in mixed.tolist():
                classes, counts = self.table.entries(group)
                if not self.drawn[group]:
                    changed |= self.draw(group)
                elif self.gain(classes, -counts) > 0 and ((n_drawn - self.staying)[classes] > 1).all():
                    self.move(group, -1)
                    changed = True
            if not changed:
                return

    def fill(self, own: Ints) -> None:
        """Draw groups of a single class in order, if they fit; then the smallest of the others, if that gets nearer."""
        if not len(own):
            return
        counts = self.table.pairs[2][self.table.starts[own]]
        label = int(self.table.pairs[1][self.table.starts[own[0]]])
        n_free = int(self.staying[label]) - self.n_keep
        # All that fit in sequence at once: most groups have one item.
        n_first = min(int(np.searchsorted(counts.cumsum(), self.short[label], side="right")), max(n_free, 0))
        self.drawn[own[:n_first]] = True
        self.short[label] -= counts[:n_first].sum()
        self.staying[label] -= n_first
        left: list[tuple[int, int]] = []
        for group, count in zip(own[n_first:].tolist(), counts[n_first:].tolist(), strict=True):
            if self.short[label] <= 0 or self.staying[label] <= self.n_keep:
                return
            if count <= self.short[label]:
                self.move(group, 1)
            else:
                left.append((count, group))
        if left:
            self.draw(min(left)[1])


def draw_groups(table: GroupTable, wanted: Ints, seed: int, n_keep: int = 1) -> NDArray[np.bool_] | None:
    """Return which items are drawn: whole groups, at least one per class and about as many items as wanted.

    Groups are ordered as in a draw of items. Mixed groups are drawn as long as that reduces the sum of squared relative
    differences between class sizes and targets; groups of one class then fill the rest. With groups of one item each,
    this is the draw of items.

    Args:
        table: Labels and groups.
        wanted: Number of items to draw from each class, at least 1, ``(n_classes,)``.
        seed: Seed of the order.
        n_keep: Minimum number of groups of each class that are not drawn.

    Returns:
        ``(n_items,)``; None if no draw was found with every class on both sides.
    """
    order, first = table.order(seed), np.empty(0, dtype=np.int64)
    for _ in range(TRIES):
        draw = _attempt(table, wanted, order, first, n_keep)
        missing = (table.groups_per_class() > 0) & (draw.staying == table.groups_per_class())
        if not missing.any():
            return np.asarray(draw.drawn[table.of_item])
        of_missing = np.unique(table.pairs[0][missing[table.pairs[1]]])
        first = np.concatenate([order[np.isin(order, of_missing)], first[~np.isin(first, of_missing)]])
    return None


def _attempt(table: GroupTable, wanted: Ints, order: Ints, first: Ints, n_keep: int) -> _Draw:
    per_class = table.groups_per_class()
    draw = _Draw(table, n_keep, wanted, wanted.copy(), per_class.copy(), np.zeros(table.n_groups, dtype=bool))
    for group in first.tolist():
        classes, _ = table.entries(group)
        if (draw.staying == per_class)[classes].any():
            draw.draw(group, at_any_price=True)
    mixed = order[table.is_mixed[order] & ~draw.drawn[order]]
    for group in mixed.tolist():
        draw.draw(group)
    draw.change_mixed(order[table.is_mixed[order]])
    single = order[~table.is_mixed[order] & ~draw.drawn[order]]
    label_of = table.pairs[1][table.starts[:-1]]
    by_class = single[np.argsort(label_of[single], kind="stable")]
    for own in np.split(by_class, np.flatnonzero(np.diff(label_of[by_class])) + 1):
        draw.fill(own)
    return draw
