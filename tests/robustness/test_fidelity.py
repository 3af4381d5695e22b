"""Every corruption and severity against an independent formulation, see ``benchmarks.peers.corruptions``.

With the same random numbers both must give the same pixels. With numbers of their own they must agree in distribution.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import absolute_distance, pictures, structural_distance, to_batch, to_pixels
from replayed_random import Replay

from benchmarks.peers import corruptions as reference
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import RESOLUTIONS, SEVERITIES
from resnet_mlflow.robustness.corruptions import corrupt
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.robustness.severities import constants_for

Pixels = NDArray[np.uint8]

N_REPLAYED = {32: 4, 64: 2, 224: 1}
INDEPENDENT = [name for name in CORRUPTIONS if hasattr(reference, name)]
# Those two draw by methods of their own.
REPLAYED = [name for name in INDEPENDENT if name not in ("shot_noise", "impulse_noise")]
EXACT = ("contrast", "brightness", "saturate", "pixelate", "jpeg_compression")
# Thresholds on float32 tip over for single pixels: the border of two cells of frost, the rim of a drop.
SHARE_BEYOND_ONE = {"frost": 0.002, "spatter": 0.002}

# So many images make as many pixels: 256 of 32 x 32.
N_NOISY = {32: 256, 64: 64, 224: 5}
N_RANDOM = {"glass_blur": 64, "motion_blur": 128, "elastic_transform": 128, "snow": 256, "frost": 256, "fog": 256}


def test_every_published_corruption_has_an_independent_formulation() -> None:
    assert set(INDEPENDENT) >= {*BENCHMARK, "speckle_noise", "gaussian_blur", "spatter", "saturate"}


def by_reference(corruption: str, severity: int, pixels: Pixels, generators: list[object]) -> Pixels:
    function = getattr(reference, corruption)
    constants = constants_for(corruption, severity, min(pixels.shape[1:3]))
    return np.stack([function(image, rng, *constants) for image, rng in zip(pixels, generators, strict=True)])


def by_package(corruption: str, severity: int, pixels: Pixels) -> Pixels:
    return to_pixels(corrupt(to_batch(pixels), corruption, severity, range(len(pixels))))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("corruption", REPLAYED)
def test_corrupt_gives_the_pixels_of_the_reference_for_the_same_random_numbers(
    corruption: str, resolution: int
) -> None:
    pixels = pictures(N_REPLAYED[resolution], resolution)
    for severity in SEVERITIES:
        replays: list[object] = [Replay(item, corruption, severity) for item in range(len(pixels))]
        expected = by_reference(corruption, severity, pixels, replays)
        apart = np.abs(by_package(corruption, severity, pixels).astype(int) - expected)

        if corruption in EXACT:
            assert apart.max() == 0, severity
        else:
            assert (apart > 1).mean() <= SHARE_BEYOND_ONE.get(corruption, 0), severity
        assert absolute_distance(expected, pixels) > 0.3, severity


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("corruption", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_corrupt_draws_noise_of_the_distribution_of_the_reference(corruption: str, resolution: int) -> None:
    pixels = pictures(N_NOISY[resolution], resolution)
    rng = np.random.default_rng(1)
    for severity in SEVERITIES:
        ours = by_package(corruption, severity, pixels).astype(int) - pixels
        theirs = by_reference(corruption, severity, pixels, [rng] * len(pixels)).astype(int) - pixels
        # Five standard errors of the difference of two means, and of two deviations.
        error = theirs.std() * np.sqrt(2 / theirs.size)
        histograms = [np.bincount(noise.ravel() + 255, minlength=511) / noise.size for noise in (ours, theirs)]

        assert abs(ours.mean() - theirs.mean()) < 5 * error, severity
        assert ours.std() == pytest.approx(theirs.std(), rel=0.01), severity
        # Two samples of one distribution over some 300 levels lie 0.008 apart.
        assert np.abs(histograms[0] - histograms[1]).sum() / 2 < 0.015, severity


@pytest.mark.parametrize("corruption", list(N_RANDOM))
def test_corrupt_changes_images_as_far_as_the_reference_does(corruption: str) -> None:
    pixels = pictures(N_RANDOM[corruption], 32)
    rng = np.random.default_rng(1)
    for severity in SEVERITIES:
        ours = by_package(corruption, severity, pixels)
        theirs = by_reference(corruption, severity, pixels, [rng] * len(pixels))

        for distance in (absolute_distance, structural_distance):
            assert distance(ours, pixels) == pytest.approx(distance(theirs, pixels), rel=0.1), (severity, distance)
