"""The protocol that scored a run: only scores of the same protocol are compared, in tables and MLflow's lists."""

from collections.abc import Mapping
from typing import Literal

Protocol = Literal["full", "few-shot", "cross-validation"]
# The tag for filtering MLflow's lists.
PROTOCOL = "protocol"


def protocol_of(values: Mapping[str, object]) -> Protocol:
    """Return how a run with these parameters was trained and scored.

    ``full`` trains on all training images and scores one test split; ``few-shot`` trains on a few images per class;
    ``cross-validation`` scores all images, each by a classifier that has not seen it.

    Args:
        values: Typed parameters; those that a stage does not have are missing.

    Example:
        >>> protocol_of({"seed": 1}), protocol_of({"shots": 4, "folds": 0}), protocol_of({"folds": 5})
        ('full', 'few-shot', 'cross-validation')
    """
    if _is_positive(values.get("folds")):
        return "cross-validation"
    return "few-shot" if _is_positive(values.get("shots")) else "full"


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and value > 0
