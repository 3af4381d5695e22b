"""Prediction sets with guaranteed coverage of the true class: split conformal, over all images or by class or group.

A set holds the classes whose probability is at least a quantile of the true-class probabilities of calibration images.
This is the score of Sadinle et al., one minus that probability, without the rounding of the subtraction. The guarantee
needs no model of the data: calibration images must come from the same distribution as new images, and must not have
been used to choose the classifier.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_mlflow.errors import InputError

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
Per = Literal["all", "class", "group"]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class SetRule:
    """The rule for the classes in an image's prediction set.

    Attributes:
        coverage: Guaranteed share of images whose set contains their class.
        per: Images over which coverage is guaranteed: all together, those of each class, or those of each group.
        least: Lowest probability of a class in the set, over all images.
        by_class: The same by name, for classes with enough images.
        by_group: The same by name, for groups with enough images.
        n_images: Number of calibration images.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)]
    per: Per
    least: Probability
    by_class: Mapping[str, Probability] = field(default_factory=dict)
    by_group: Mapping[str, Probability] = field(default_factory=dict)
    n_images: int = 0

    def sets(
        self, probabilities: Floats, class_names: Sequence[str], groups: Sequence[str] = (), may_be_empty: bool = False
    ) -> Flags:
        """Return which classes are in each image's set, ``(n_images, n_classes)``.

        Args:
            probabilities: ``(n_images, n_classes)``.
            class_names: Class names in the order of the columns.
            groups: Name of each image's group, for sets per group; groups without a limit use the one over all images.
            may_be_empty: Whether to omit even the most probable class if its probability is too low; coverage is then
                as requested. If it is always included, the coverage of a more accurate classifier is higher.
        """
        limits = np.full(probabilities.shape, self.least)
        if self.per == "class":
            limits[:] = [self.by_class.get(name, self.least) for name in class_names]
        elif self.per == "group" and len(groups):
            limits[:] = np.array([self.by_group.get(name, self.least) for name in groups])[:, None]
        inside = np.asarray(probabilities >= limits)
        if not may_be_empty:
            inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return inside


def n_needed(coverage: float) -> int:
    """Return the number of images needed for the guarantee: with fewer, only the set of all classes fulfils it.

    Example:
        >>> n_needed(0.9), n_needed(0.95)
        (9, 19)
    """
    # 1 - 0.9 is slightly less than 0.1.
    return max(1, math.ceil(round(1 / (1 - coverage), 6)) - 1)


def check_enough_for_sets(n_images: int, coverage: float) -> None:
    """Refuse a number of calibration images for which only the set of all classes has the guarantee.

    Raises:
        InputError: If there are too few; the message gives the number needed.
    """
    if n_images < n_needed(coverage):
        raise InputError(
            f"coverage={coverage:g} needs at least {n_needed(coverage)} calibration images, got {n_images}; calibrate "
            "on more, or pass a lower coverage"
        )


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Return the ``ceil((n + 1) coverage)``-th smallest of ``n`` scores.

    A further image from the same distribution has a score up to this with probability at least ``coverage``, and at
    most ``coverage + 1 / (n + 1)`` if there are no ties.

    Args:
        scores: ``(n_images,)``.
        coverage: Coverage, in (0, 1).

    Raises:
        InputError: As for ``check_enough_for_sets``.

    References:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World; Lei et al. (2018), Distribution-Free
        Predictive Inference for Regression, theorem 2.2.

    Example:
        >>> conformal_quantile(np.arange(1, 20) / 20, 0.9)
        0.9
    """
    check_enough_for_sets(len(scores), coverage)
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))
    return float(np.partition(scores, rank - 1)[rank - 1])


def fit_sets(
    probabilities: Floats,
    labels: NDArray[np.int64],
    coverage: float,
    per: Per,
    class_names: Sequence[str],
    groups: Sequence[str] = (),
    independent: NDArray[np.int64] | None = None,
) -> SetRule:
    """Return the set rule from calibration images.

    Args:
        probabilities: Probabilities of images that were not used for any selection, ``(n_images, n_classes)``.
        labels: Their classes, ``(n_images,)``.
        coverage: Coverage, in (0, 1).
        per: Which limit applies to an image; limits of classes and groups are computed in any case.
        class_names: Class names in the order of the columns.
        groups: Name of each image's group; empty if there are none.
        independent: Rows with one image per group, since further images of a group are no evidence on other groups.
            None means all rows.

    Raises:
        InputError: As for ``conformal_quantile``; also if no class, or no group, has enough images for sets ``per`` it.

    References:
        Sadinle, Lei and Wasserman (2019), Least Ambiguous Set-Valued Classifiers with Bounded Error Levels: the score,
        section 2, and its quantile by class, section 3; Vovk (2012), Conditional Validity of Inductive Conformal
        Predictors, for quantiles by group; Dunn,
        Wasserman and Ramdas (2023), Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, section 3.3:
        one item of each group.
    """
    scores = -probabilities[np.arange(len(labels)), labels].astype(np.float64)
    rows = np.arange(len(labels)) if independent is None else independent
    least = -conformal_quantile(scores[rows], coverage)
    by_class = _by_name(scores[rows], np.asarray(class_names)[labels[rows]], coverage)
    by_group = _by_name(scores, np.asarray(groups), coverage) if len(groups) else {}
    if {"class": by_class, "group": by_group}.get(per, {"": 0.0}) == {}:
        raise InputError(
            f"sets_per={per} needs at least {n_needed(coverage)} calibration images of at least one {per}, got fewer "
            f"of each; calibrate on more, or pass sets_per=all"
        )
    return SetRule(coverage, per, least, by_class, by_group, len(rows))


def _by_name(scores: Floats, names: NDArray[np.str_], coverage: float) -> dict[str, float]:
    found = {str(name): scores[names == name] for name in np.unique(names)}
    enough = n_needed(coverage)
    return {name: -conformal_quantile(own, coverage) for name, own in found.items() if len(own) >= enough}
