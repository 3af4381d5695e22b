"""A corruption's constants by image size and severity. Does not import torch."""

from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import Constants

SMALLEST_SIDE = 16


def table_resolution(shorter_side: int) -> int:
    """Return the resolution whose constants apply: 32 up to 48 pixels, 64 up to 128, else 224.

    Args:
        shorter_side: Shorter side of the image when corrupted, in pixels, at least 16.

    Raises:
        InputError: If it is below 16 pixels.

    Example:
        >>> [table_resolution(side) for side in (28, 64, 96, 299)]
        [32, 64, 64, 224]
    """
    if shorter_side < SMALLEST_SIDE:
        raise InputError(
            f"images to corrupt must have at least {SMALLEST_SIDE} pixels on the shorter side, got {shorter_side}; "
            "leave smaller ones out, or enlarge them first"
        )
    return 32 if shorter_side <= 48 else 64 if shorter_side <= 128 else 224


def constants_for(corruption: str, severity: int, resolution: int) -> Constants:
    """Return a corruption's constants.

    Args:
        corruption: Name of a row of ``catalogue.CORRUPTIONS``.
        severity: 1 to 5; 1, 3 or 5 if geometric.
        resolution: Shorter side of the image when corrupted, in pixels.

    Raises:
        InputError: If an argument is invalid.

    Example:
        >>> constants_for("gaussian_noise", 3, 32), constants_for("gaussian_noise", 3, 224)
        ((0.08,), (0.18,))
    """
    check_cell(corruption, severity)
    return CORRUPTIONS[corruption].levels[table_resolution(resolution)][severity]


def severities_of(corruption: str) -> tuple[int, ...]:
    """Return the severities of a corruption.

    Raises:
        InputError: If the corruption does not exist.

    Example:
        >>> severities_of("fog"), severities_of("rotation")
        ((1, 2, 3, 4, 5), (1, 3, 5))
    """
    return CORRUPTIONS.find(corruption).severities


def check_cell(corruption: str, severity: int) -> None:
    """Check that the corruption exists at the severity.

    Raises:
        InputError: If it does not.
    """
    if severity not in severities_of(corruption):
        known = ", ".join(map(str, severities_of(corruption)))
        raise InputError(f"severity of {corruption} must be one of {known}, got {severity}")
