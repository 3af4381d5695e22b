"""A fast part of ``python -m benchmarks --only coverage``: where earlier methods failed, and some other settings."""

import numpy as np
import pytest

from benchmarks.coverage_simulation import (
    Setting,
    balanced_accuracy_coverage,
    difference_coverage,
    false_gains,
    false_slices,
    false_winners,
    macro_f1_coverage,
    promotions,
    seeded_difference_coverage,
    seeded_score_coverage,
)
from resnet_mlflow.statistics import Floats

N = 600
# 93 % less three standard errors of a share in 600 simulations; 5 % and 2.5 % with as many on top.
LEAST, MOST_FALSE, MOST_PROMOTED = 0.93 - 3 * 0.0104, 0.05 + 3 * 0.0089, 0.025 + 3 * 0.0064


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(30, 10, 0.99),  # The bootstrap within classes covered 25 %,
        Setting(30, 2, 0.99),  # 20 %,
        Setting(100, 10, 0.99),  # 61 %,
        Setting(360, 10, 0.99),  # 88 %.
        Setting(1000, 1000, 0.7),
        Setting(1000, 100, 0.9, tail=True),
        Setting(10_000, 1000, 0.9, tail=True, falling=True),
        Setting(360, 10, 0.95, tail=True, hard_tail=True),  # One effective number of all classes covers 80 %,
        Setting(1000, 10, 0.97, tail=True, hard_tail=True),  # 90 %.
        Setting(100, 1, 0.998),  # Plain Wilson covers 84 %.
        Setting(30, 1, 0.95),
    ],
    ids=str,
)
def test_interval_of_balanced_accuracy_covers(setting: Setting) -> None:
    assert balanced_accuracy_coverage(setting, N, rng()) >= LEAST


@pytest.mark.parametrize(
    "setting",
    [
        Setting(30, 2, 0.99),
        Setting(100, 10, 0.8),
        Setting(360, 10, 0.9, tail=True),
        Setting(1000, 10, 0.97, tail=True, hard_tail=True),
    ],
    ids=str,
)
def test_interval_of_macro_f1_covers(setting: Setting) -> None:
    assert macro_f1_coverage(setting, N, rng()) >= LEAST


@pytest.mark.parametrize(
    "setting",
    [
        Setting(30, 1, 0.99, gain=0.02),  # The bootstrap covered 46 %.
        Setting(360, 1, 0.9, gain=0.05),
        Setting(300, 100, 0.9, gain=0.05),
        Setting(360, 10, 0.9, tail=True, gain=0.05),
        Setting(360, 10, 0.97, tail=True, hard_tail=True, gain=0.04, disagreement=0.2),  # The same, 84 %.
    ],
    ids=str,
)
def test_interval_of_a_difference_covers(setting: Setting) -> None:
    assert difference_coverage(setting, N, rng()) >= LEAST
    assert false_gains(Setting(setting.n_items, setting.n_classes, 0.9, setting.tail), N, rng()) <= MOST_FALSE


@pytest.mark.parametrize(
    "setting",
    [
        Setting(1000, 1, 0.9, n_seeds=2, seed_deviation=0.02),  # The bootstrap over seeds covered 62 %,
        Setting(1000, 1, 0.9, n_seeds=3, seed_deviation=0.02),  # 73 %.
        Setting(200, 1, 0.9, n_seeds=5, seed_deviation=0.02),
        Setting(100, 1, 0.9, n_seeds=10, seed_deviation=0.005),  # A t interval over seeds covers half.
        Setting(200, 1, 0.9, n_seeds=3, seed_deviation=0.02, held_out=0.25),
        Setting(100, 10, 0.9, tail=True, n_seeds=3, seed_deviation=0.01),
        # A few errors that seeds share by chance, or do not: taken as they are they cover 88 %.
        Setting(100, 1, 0.99, n_seeds=10, own_share=0.1),
        Setting(30, 1, 0.95, n_seeds=10, own_share=0.1),
    ],
    ids=str,
)
def test_intervals_over_seeds_cover(setting: Setting) -> None:
    assert seeded_score_coverage(setting, N, rng()) >= LEAST
    assert seeded_difference_coverage(setting, N, rng()) >= LEAST
    assert false_winners(setting, N, rng()) <= MOST_FALSE


@pytest.mark.parametrize("per_class", [1, 2, 3])
def test_the_gate_rarely_promotes_equal_classifiers_on_few_images_per_class(per_class: int) -> None:
    # The bootstrap within classes promoted 47, 12 and 9 %.
    assert promotions(Setting(100 * per_class, 100, 0.9), N // 2, rng()) <= MOST_PROMOTED


def test_the_gate_finds_five_points_on_360_images() -> None:
    # 82 % with the bootstrap; three standard errors less.
    setting = Setting(360, 1, 0.85, gain=0.05, disagreement=0.2)
    assert promotions(setting, N // 2, rng()) >= 0.82 - 3 * 0.022


def test_intervals_do_not_cover_by_being_far_too_wide() -> None:
    for setting in (Setting(1000, 10, 0.9), Setting(10_000, 100, 0.8), Setting(1000, 1, 0.5)):
        assert balanced_accuracy_coverage(setting, N, rng()) <= 0.98
    recalls: Floats = Setting(360, 10, 0.9, falling=True).recalls()
    assert recalls.mean() == pytest.approx(0.9)


@pytest.mark.parametrize("setting", [Setting(30, 2, 0.95), Setting(100, 5, 0.7, tail=True)], ids=str)
def test_slices_of_one_accuracy_are_rarely_told_apart(setting: Setting) -> None:
    assert false_slices(setting, N // 2, rng()) <= 0.05 + 3 * 0.0126
