"""Which corruptions there are, and their published constants by resolution and severity; free of torch.

References:
    Hendrycks and Dietterich (2019), Benchmarking Neural Network Robustness to Common Corruptions and Perturbations:
    ImageNet-C (224 pixels), Tiny-ImageNet-C (64) and CIFAR-10-C (32).
"""

from resnet_mlflow.errors import InputError, nearest

Constants = tuple[float, ...]
Table = dict[str, tuple[Constants, ...]]

SEVERITIES = (1, 2, 3, 4, 5)
TIERS = {"mild": 1, "medium": 3, "strong": 5}
RESOLUTIONS = (32, 64, 224)
SMALLEST_SIDE = 16

FAMILIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
BENCHMARK = tuple(name for names in FAMILIES.values() for name in names)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
GEOMETRIC = ("rotation", "translation", "scale", "horizontal_flip", "occlusion")
CORRUPTIONS = BENCHMARK + EXTRA + GEOMETRIC

FAMILY = {name: family for family, names in FAMILIES.items() for name in names} | {
    "speckle_noise": "noise",
    "gaussian_blur": "blur",
    "spatter": "weather",
    "saturate": "digital",
    **dict.fromkeys(GEOMETRIC, "geometric"),
}


def _each(*values: float) -> tuple[Constants, ...]:
    return tuple((value,) for value in values)


def _times(n: float, *rows: Constants) -> tuple[Constants, ...]:
    return tuple(tuple(n * value for value in row) for row in rows)


# Columns: noise: sigma, Poisson's scale, share of elements, sigma. defocus: radius, alias sigma. glass: sigma, reach,
# rounds. motion: radius, sigma. zoom: end, step. snow: mean, deviation, zoom, threshold, radius, sigma, mix. frost:
# weight of image, of frost. fog: strength, decay. spatter: mean, deviation, sigma, threshold, strength, 1 for mud.
# saturate: factor, offset. elastic: displacement, its sigma, reach of the affine map, all in pixels.
_SAME_AT_64_AND_224: Table = {
    "contrast": _each(0.4, 0.3, 0.2, 0.1, 0.05),
    "brightness": _each(0.1, 0.2, 0.3, 0.4, 0.5),
}
_ZOOM_AT_32_AND_64 = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))

_AT_224: Table = _SAME_AT_64_AND_224 | {
    "gaussian_noise": _each(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _each(60, 25, 12, 5, 3),
    "impulse_noise": _each(0.03, 0.06, 0.09, 0.17, 0.27),
    "speckle_noise": _each(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _each(1, 2, 3, 4, 6),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    # 244 is the authors' slip for 224; the published images have it.
    "elastic_transform": _times(
        244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
    ),
    "pixelate": _each(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _each(25, 18, 15, 10, 7),
}

_AT_64: Table = _SAME_AT_64_AND_224 | {
    "gaussian_noise": _each(0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _each(250, 100, 50, 30, 15),
    "impulse_noise": _each(0.01, 0.02, 0.05, 0.08, 0.14),
    "speckle_noise": _each(0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _each(0.5, 0.75, 1, 1.25, 1.5),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _ZOOM_AT_32_AND_64,
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "elastic_transform": _times(
        64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)
    ),
    "pixelate": _each(0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _each(65, 58, 50, 40, 25),
}

_AT_32: Table = {
    "gaussian_noise": _each(0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _each(500, 250, 100, 75, 50),
    "impulse_noise": _each(0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": _each(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _each(0.4, 0.6, 0.7, 0.8, 1),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _ZOOM_AT_32_AND_64,
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "contrast": _each(0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": _each(0.05, 0.1, 0.15, 0.2, 0.3),
    "elastic_transform": _times(
        32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
    ),
    "pixelate": _each(0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _each(80, 65, 58, 50, 40),
}

TABLES: dict[int, Table] = {32: _AT_32, 64: _AT_64, 224: _AT_224}

# By tier; all but degrees are fractions of the side.
GEOMETRIC_TABLE: dict[str, dict[int, Constants]] = {
    "rotation": {1: (5,), 3: (15,), 5: (30,)},
    "translation": {1: (0.05,), 3: (0.1,), 5: (0.2,)},
    "scale": {1: (0.9,), 3: (0.75,), 5: (0.6,)},
    "horizontal_flip": {1: (), 3: (), 5: ()},
    "occlusion": {1: (0.1,), 3: (0.25,), 5: (0.4,)},
}


def table_resolution(shorter_side: int) -> int:
    """Return for which resolution the constants are taken: 32 up to 48 pixels, 64 up to 128, else 224.

    Args:
        shorter_side: Of the image as it is corrupted, in pixels, at least 16.

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
        corruption: One of ``CORRUPTIONS``.
        severity: 1 to 5; 1, 3 or 5 where it is geometric.
        resolution: Shorter side of the image as it is corrupted, in pixels.

    Raises:
        InputError: If one of them is not so.

    Example:
        >>> constants_for("gaussian_noise", 3, 32), constants_for("gaussian_noise", 3, 224)
        ((0.08,), (0.18,))
    """
    check_cell(corruption, severity)
    table = TABLES[table_resolution(resolution)]
    return GEOMETRIC_TABLE[corruption][severity] if corruption in GEOMETRIC else table[corruption][severity - 1]


def severities_of(corruption: str) -> tuple[int, ...]:
    """Return the severities that a corruption comes in.

    Example:
        >>> severities_of("fog"), severities_of("rotation")
        ((1, 2, 3, 4, 5), (1, 3, 5))
    """
    return tuple(GEOMETRIC_TABLE[corruption]) if corruption in GEOMETRIC else SEVERITIES


def check_cell(corruption: str, severity: int) -> None:
    """Do nothing where the corruption exists at the severity.

    Raises:
        InputError: If it does not.
    """
    if corruption not in CORRUPTIONS:
        raise InputError(
            f"corruption must be one of {', '.join(CORRUPTIONS)}, got {corruption!r}{nearest(corruption, CORRUPTIONS)}"
        )
    if severity not in severities_of(corruption):
        known = ", ".join(map(str, severities_of(corruption)))
        raise InputError(f"severity of {corruption} must be one of {known}, got {severity}")
