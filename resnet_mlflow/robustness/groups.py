"""Groups of corruptions, and the names of sets and families."""

from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import Group


def of_group(group: Group) -> tuple[str, ...]:
    """Return the names in a group.

    Example:
        >>> of_group("extra")
        ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    """
    return tuple(name for name, row in CORRUPTIONS.items() if row.group == group)


# The published 15, on which headline scores, mCE and tiers are computed. Others never count.
BENCHMARK = of_group("benchmark")


def families() -> dict[str, tuple[str, ...]]:
    """Return the names of the benchmark's corruptions by family.

    Example:
        >>> families()["noise"]
        ('gaussian_noise', 'shot_noise', 'impulse_noise')
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in BENCHMARK:
        family = CORRUPTIONS[name].family
        found[family] = (*found.get(family, ()), name)
    return found


def scored_groups() -> dict[str, tuple[str, ...]]:
    """Return the names in each group with its own score: the benchmark's families, the extra and the geometric ones."""
    return {**families(), "extra": of_group("extra"), "geometric": of_group("geometric")}


def sets() -> dict[str, tuple[str, ...]]:
    """Return the corruptions in each named set and family."""
    apart = {"extra": of_group("extra"), "geometric": of_group("geometric")}
    return {"all": tuple(CORRUPTIONS), "benchmark": BENCHMARK, **apart, **families()}
