"""Selection of corruptions, severities and images for a test."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import SEVERITIES, TIERS
from resnet_mlflow.robustness.groups import sets
from resnet_mlflow.robustness.severities import severities_of


class CorruptedSet(NamedTuple):
    """One corrupted test set; its text is the name of its column in the predictions."""

    corruption: str
    severity: int

    def __str__(self) -> str:
        return f"{self.corruption} {self.severity}" if self.severity else self.corruption


CLEAN = CorruptedSet("clean", 0)


def parse_corruptions(text: str) -> tuple[str, ...]:
    """Return the corruptions for a list of corruptions, families and sets, in the benchmark's order.

    Raises:
        InputError: If a name is unknown.

    Example:
        >>> parse_corruptions("fog, noise")
        ('gaussian_noise', 'shot_noise', 'impulse_noise', 'fog')
    """
    chosen: set[str] = set()
    named = sets()
    for name in _words(text):
        if name not in named and name not in CORRUPTIONS:
            known = [*named, *CORRUPTIONS]
            raise InputError(
                f"corruptions must be among {', '.join(known)}, got {name!r}{nearest(name, known)}; write all for "
                f"every corruption"
            )
        chosen.update(named.get(name, (name,)))
    return tuple(name for name in CORRUPTIONS if name in chosen)


def parse_tiers(text: str) -> dict[str, int]:
    """Return the severity of each named tier.

    Raises:
        InputError: If a tier is unknown, or its severity is out of range or below that of a milder one.

    Example:
        >>> parse_tiers("mild=2, strong=4")
        {'mild': 2, 'strong': 4}
    """
    given: dict[str, int] = {}
    for word in _words(text):
        name, _, severity = (part.strip() for part in word.partition("="))
        if name not in TIERS:
            raise InputError(f"tiers must be among {', '.join(TIERS)}, got {name!r}{nearest(name, TIERS)}")
        given[name] = _severity(severity, f"severity of tier {name}")
    tiers = {name: given[name] for name in TIERS if name in given}
    if list(tiers.values()) != sorted(set(tiers.values())):
        raise InputError(f"severities of tiers must increase from mild to strong, got {text!r}; write mild=1,strong=5")
    return tiers


def parse_severities(text: str, tiers: Mapping[str, int]) -> tuple[int, ...]:
    """Return the severities for a list of numbers and tiers, ascending.

    Args:
        text: For example ``1,2`` or ``mild,strong``.
        tiers: Result of ``parse_tiers``.

    Raises:
        InputError: If a tier is unknown or a severity out of range.

    Example:
        >>> parse_severities("strong, 2", {"mild": 1, "strong": 5})
        (2, 5)
    """
    found: set[int] = set()
    for word in _words(text):
        if word in tiers:
            found.add(tiers[word])
        elif word.lstrip("-").isdigit():
            found.add(_severity(word, "severity"))
        else:
            raise InputError(
                f"severities must be 1 to 5 or tiers ({', '.join(tiers)}), got {word!r}{nearest(word, tiers)}"
            )
    return tuple(sorted(found))


def _severity(text: str, what: str) -> int:
    severity = int(text) if text.isascii() and text.isdigit() else 0
    if severity not in SEVERITIES:
        raise InputError(f"{what} must be 1, 2, 3, 4 or 5, got {text or 'nothing'}; 1 is the weakest")
    return severity


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def build_cells(corruptions: tuple[str, ...], severities: tuple[int, ...]) -> tuple[CorruptedSet, ...]:
    """Return all cells, grouped by corruption; geometric corruptions have only severities 1, 3 and 5.

    Raises:
        InputError: If there are none.

    Example:
        >>> [str(cell) for cell in build_cells(("fog", "rotation"), (1, 2))]
        ['fog 1', 'fog 2', 'rotation 1']
    """
    pairs = ((name, severity) for name in corruptions for severity in severities)
    cells = tuple(CorruptedSet(*pair) for pair in pairs if pair[1] in severities_of(pair[0]))
    if not cells:
        raise InputError(
            f"corruptions must exist at one of the severities {severities}, got {', '.join(corruptions)}; geometric "
            f"ones exist at 1, 3 and 5"
        )
    return cells


def sample_rows(labels: NDArray[np.int64], n_images: int, seed: int) -> NDArray[np.int64]:
    """Return rows of a stratified sample, sorted: the share of each class is kept as closely as possible.

    Args:
        labels: Class indices, shape ``(n_items,)``.
        n_images: Size of the sample; 0, or more than there are items, means all.
        seed: Seed of the choice.

    Example:
        >>> np.bincount(np.repeat([0, 1], [60, 30])[sample_rows(np.repeat([0, 1], [60, 30]), 9, seed=0)]).tolist()
        [6, 3]
    """
    if n_images == 0 or n_images >= len(labels):
        return np.arange(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        ranks = np.random.default_rng([seed, int(label)]).permutation(len(rows))
        # The k-th of n images of a class has position (k + 1/2) / n: the first ones overall then have every class in
        # its share.
        place[rows] = (ranks + 0.5) / len(rows)
    return np.sort(np.argsort(place, kind="stable")[:n_images])
