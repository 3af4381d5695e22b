"""Long-tailed subsets of labelled items: how many images each class keeps, and which."""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.data.splits import one_per_group_first
from resnet_mlflow.errors import InputError, nearest

PROFILES = ("exp", "step", "pareto", "natural")
CLASS_ORDERS = ("dataset", "shuffled")
PARETO_POWER = 6
BALANCED = 0.8  # smallest head of a profile relative to the largest class
CLASS_ORDER = 0  # stream of random numbers, besides those of the classes, which count from 1


def long_tail_counts(n_max: int, n_classes: int, imbalance_factor: float, profile: str = "exp") -> list[int]:
    """Return the number of training images that each class keeps in a long-tailed split, largest class first.

    With ``F = imbalance_factor`` and classes ``i = 0 .. C - 1``, rounded down:

    - ``exp``: ``n_max * F ** (-i / (C - 1))``.
    - ``step``: the first ``C // 2`` classes keep ``n_max``, the others ``n_max / F``.
    - ``pareto``: ``n_max * (1 + (F ** (1 / 6) - 1) * i / (C - 1)) ** -6``, a Pareto tail of power 6 between the same
      ends: many small classes.

    Args:
        n_max: Images in the largest class.
        n_classes: Number of classes, at least 2.
        imbalance_factor: Largest class size over smallest, in ``[1, n_max]``; 1 means balanced.
        profile: ``exp``, ``step`` or ``pareto``.

    Returns:
        ``n_classes`` counts, non-increasing, each at least 1.

    Raises:
        InputError: If ``imbalance_factor`` is not in ``[1, n_max]``, or the profile is unknown.

    References:
        Cui et al. (2019), Class-Balanced Loss Based on Effective Number of Samples, section 5.1 (exp). Buda et al.
        (2018), A systematic study of the class imbalance problem, section 2 (step). Liu et al. (2019), Large-Scale
        Long-Tailed Recognition in an Open World, section 4 (Pareto of power 6).

    Example:
        >>> sum(long_tail_counts(n_max=5000, n_classes=10, imbalance_factor=100))
        12406
        >>> long_tail_counts(n_max=100, n_classes=4, imbalance_factor=10, profile="step")
        [100, 100, 10, 10]
    """
    _check_profile(profile, PROFILES[:3])
    if n_classes < 2:
        raise InputError(f"n_classes must be at least 2, got {n_classes}; a tail needs a second class")
    if not 1 <= imbalance_factor <= n_max:
        raise InputError(
            f"imbalance_factor must be in [1, {n_max}] (the largest class has {n_max} images), got "
            f"{imbalance_factor:g}; write 100 for a tail of 1 %"
        )
    if profile == "step":
        n_heads = n_classes // 2
        return [n_max] * n_heads + [_floor(n_max / imbalance_factor)] * (n_classes - n_heads)
    places = [i / (n_classes - 1) for i in range(n_classes)]
    if profile == "exp":
        # In closed form: a running product would lose an image to rounding.
        return [_floor(n_max * imbalance_factor**-place) for place in places]
    growth = imbalance_factor ** (1 / PARETO_POWER) - 1
    return [_floor(n_max * (1 + growth * place) ** -PARETO_POWER) for place in places]


def draw_long_tail(
    labels: NDArray[np.int64],
    profile: str,
    imbalance_factor: float,
    class_order: str = "dataset",
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the rows of a long-tailed subset, sorted.

    Which images of a class stay depends only on the seed and the class; a larger factor keeps a subset of them.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        profile: ``exp``, ``step``, ``pareto``, or ``natural``, which keeps all rows.
        imbalance_factor: Largest class size over smallest, from 1 to the images of the largest class.
        class_order: ``dataset`` makes class 0 the largest; ``shuffled`` assigns sizes to classes at random by the seed.
        seed: Seed of the choice of images and the shuffled order.
        class_names: Names of all classes; None means the indices up to the largest label.
        groups: Number of each item's group, ``(n_items,)``: a second item of a group stays only after all groups of the
            class have one, so that a tail does not consist of copies.

    Raises:
        InputError: If the profile, the order or the factor is invalid, or a class has no image or fewer than the
            profile needs.

    Example:
        >>> labels = np.repeat([0, 1], 6)
        >>> np.bincount(labels[draw_long_tail(labels, "exp", 3)]).tolist()
        [6, 2]
    """
    _check_profile(profile, PROFILES)
    if class_order not in CLASS_ORDERS:
        raise InputError(
            f"class_order must be one of {', '.join(CLASS_ORDERS)}, got {class_order!r}"
            f"{nearest(class_order, CLASS_ORDERS)}"
        )
    labels = np.asarray(labels)
    names = [str(label) for label in range(labels.max() + 1)] if class_names is None else list(class_names)
    sizes = np.bincount(labels, minlength=len(names))
    for name, size in zip(names, sizes, strict=True):
        if size == 0:
            raise InputError(
                f"every class must keep at least one image in a long tail, got none of {name!r}; remove the class"
            )
    if profile == "natural":
        return np.arange(len(labels))
    wanted = _wanted(names, sizes, _places(len(names), class_order, seed), profile, imbalance_factor)
    kept = [_draw(np.flatnonzero(labels == label), n, seed, label, groups) for label, n in enumerate(wanted)]
    return np.sort(np.concatenate(kept))


def _draw(
    rows: NDArray[np.int64], n: int, seed: int, label: int, groups: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    # One generator per class: the draw of one class does not depend on the size of another.
    order = rows[np.random.default_rng([seed, label + 1]).permutation(len(rows))]
    return one_per_group_first(order, groups)[:n]


def _places(n_classes: int, class_order: str, seed: int) -> NDArray[np.int64]:
    """Return the position of each class in the profile; 0 is the largest."""
    if class_order == "dataset":
        return np.arange(n_classes)
    return np.random.default_rng([seed, CLASS_ORDER]).permutation(n_classes)


def _wanted(
    names: list[str],
    sizes: NDArray[np.int64],
    places: NDArray[np.int64],
    profile: str,
    imbalance_factor: float,
) -> NDArray[np.int64]:
    """Return the number of images each class keeps: the profile with the largest head for which all have enough."""

    def wanted(n_max: int) -> NDArray[np.int64]:
        return np.array(long_tail_counts(n_max, len(names), imbalance_factor, profile))[places]

    of_largest = wanted(int(sizes.max()))
    # Small differences in size lower the head by as much; a dataset that is already long-tailed is refused.
    lowest = max(math.ceil(BALANCED * sizes.max()), math.ceil(imbalance_factor))
    heads = range(int(sizes.max()), lowest - 1, -1)
    first = bisect_left(heads, True, key=lambda n_max: bool((sizes >= wanted(n_max)).all()))
    if first < len(heads):
        return wanted(heads[first])
    short = int(np.flatnonzero(sizes < of_largest)[0])
    raise InputError(
        f"every class must have as many images as the {profile} profile with imbalance_factor {imbalance_factor:g} "
        f"requires, got {sizes[short]} of {of_largest[short]} in class {names[short]!r}; pass "
        "profile=natural, or another class_order"
    )


def _check_profile(profile: str, known: Sequence[str]) -> None:
    if profile not in known:
        raise InputError(f"profile must be one of {', '.join(known)}, got {profile!r}{nearest(profile, known)}")


def _floor(count: float) -> int:
    # Rounding must not remove an image from an exactly integer count, such as 5000 * 100 ** -1.
    return math.floor(count + 1e-9)
