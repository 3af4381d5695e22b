import math

import numpy as np
import pytest

from resnet_mlflow.robustness.corruption import SEVERITIES
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.robustness.results import SetResult
from resnet_mlflow.robustness.scores import (
    consistency,
    corruption_error,
    mean_corruption_error,
    mean_over_items,
    relative_corruption_error,
    relative_mean_corruption_error,
)
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.summary import Reference, TriedClassifier
from resnet_mlflow.statistics import accuracy_interval, wilson_interval


def test_corruption_error_divides_sums_over_severities():
    # (0.1 + 0.2 + 0.3 + 0.4 + 0.5) / (0.3 + 0.5 + 0.6 + 0.7 + 0.9)
    assert corruption_error([0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.5, 0.6, 0.7, 0.9]) == pytest.approx(1.5 / 3.0)


def test_relative_corruption_error_subtracts_the_clean_errors():
    # (0.1 + 0.2 + 0.3) over (0.2 + 0.4 + 0.4)
    assert relative_corruption_error([0.2, 0.3, 0.4], 0.1, [0.4, 0.6, 0.6], 0.2) == pytest.approx(0.6)


def test_corruption_errors_are_undefined_where_the_reference_makes_none():
    assert math.isnan(corruption_error([0.1], [0.0]))
    assert math.isnan(relative_corruption_error([0.1], 0.0, [0.2], 0.2))


def test_mean_corruption_error_of_alexnet_by_itself_is_100():
    # Mean errors of AlexNet per corruption, as AugMix's imagenet.py has them, at every severity.
    alexnet = (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360)
    errors = {
        name: dict.fromkeys(SEVERITIES, value) for name, value in zip(BENCHMARK, (*alexnet, *[0.7] * 8), strict=True)
    }
    assert mean_corruption_error(errors, errors) == pytest.approx(100)
    halves = {name: {severity: value / 2 for severity, value in row.items()} for name, row in errors.items()}
    assert mean_corruption_error(halves, errors) == pytest.approx(50)


def test_mean_corruption_error_averages_ratios_not_errors():
    ones = {name: dict.fromkeys(SEVERITIES, 1.0) for name in BENCHMARK}
    errors = ones | {"fog": dict.fromkeys(SEVERITIES, 0.1), "snow": dict.fromkeys(SEVERITIES, 0.2)}
    reference = ones | {"fog": dict.fromkeys(SEVERITIES, 0.2), "snow": dict.fromkeys(SEVERITIES, 0.8)}
    # Thirteen ratios of 1, one of 1/2, one of 1/4.
    assert mean_corruption_error(errors, reference) == pytest.approx(100 * 13.75 / 15)
    # Against clean errors of 0 on both sides the relative one is the same.
    assert relative_mean_corruption_error(errors, 0.0, reference, 0.0) == pytest.approx(100 * 13.75 / 15)


def test_mean_corruption_error_needs_all_75_cells():
    full = {name: dict.fromkeys(SEVERITIES, 0.5) for name in BENCHMARK}
    short = full | {"fog": {1: 0.5, 3: 0.5, 5: 0.5}}
    assert math.isnan(mean_corruption_error(short, full))
    assert math.isnan(
        mean_corruption_error(full, {name: row for name, row in full.items() if name != "jpeg_compression"})
    )


def test_consistency_counts_wrong_labels_that_survive_too():
    assert consistency([1, 1, 2, 0], [1, 0, 2, 0]) == 0.75


def test_mean_over_items_takes_an_image_as_one_observation():
    # Four images, right in 2, 1, 1 and 0 of 2 cells: their shares have half the variance that single answers have, so
    # that 8 answers of one cell each would be as good.
    correct = np.array([[True, True, False, False], [True, False, True, False]])
    mean, interval = mean_over_items(correct)
    assert mean == 0.5
    # How alike cells are on four images is half chance: the interval lies between those of four and of eight.
    assert wilson_interval(2, 4)[0] < interval[0] < wilson_interval(4, 8)[0]
    many = np.tile(correct, (1, 100))
    assert mean_over_items(many)[1] == pytest.approx(wilson_interval(400, 800), abs=5e-4)
    # Ten times the cells with the same content are no more evidence.
    assert mean_over_items(np.tile(many, (10, 1)))[1] == pytest.approx(mean_over_items(many)[1])


def test_mean_over_items_without_an_error_has_a_width():
    assert mean_over_items(np.ones((75, 30), dtype=bool)) == (1.0, pytest.approx(wilson_interval(30, 30)))


def tried(**cells: list[int]) -> TriedClassifier:
    """A classifier of four images, two of class 0 and two of class 1, right on all clean ones."""
    results = {CLEAN: result_of([0, 0, 1, 1])}
    for name, predictions in cells.items():
        corruption, _, severity = name.rpartition("_")
        results[CorruptedSet(corruption, int(severity))] = result_of(predictions)
    labels, groups = np.array([0, 0, 1, 1]), {"many": np.array([0]), "few": np.array([1])}
    return TriedClassifier("r", "svm", 0, labels, 2, results, {"mild": 1, "strong": 5}, groups)


def result_of(predictions: list[int]) -> SetResult:
    return SetResult(np.array(predictions, np.int32), np.ones(4, np.float32), ece=0.25)


def test_summary_gives_tiers_families_and_groups():
    one = tried(fog_1=[0, 0, 1, 1], fog_5=[0, 0, 0, 0], contrast_1=[0, 1, 1, 1], contrast_5=[1, 1, 1, 1])
    metrics = one.summary()
    assert metrics["robustness/clean/accuracy"] == 1
    assert metrics["robustness/mild/accuracy"] == pytest.approx((1 + 0.75) / 2)
    assert metrics["robustness/strong/accuracy"] == 0.5
    assert metrics["robustness/mean/accuracy"] == pytest.approx((1 + 0.5 + 0.75 + 0.5) / 4)
    assert metrics["robustness/mean/error"] == pytest.approx(1 - 2.75 / 4)
    assert metrics["robustness/weather/accuracy"] == 0.75
    assert metrics["robustness/digital/accuracy"] == pytest.approx(0.625)
    assert metrics["robustness/strong/consistency"] == 0.5
    # Class 0 is right in 2 of 2 under fog 5 and 0 of 2 under contrast 5, class 1 the other way round.
    assert metrics["robustness/strong/accuracy_many"] == metrics["robustness/strong/accuracy_few"] == 0.5
    assert metrics["robustness/mild/accuracy_many"] == 0.75
    assert metrics["robustness/mild/ece"] == 0.25
    assert "robustness/noise/accuracy" not in metrics
    assert "robustness/mce" not in metrics


def test_summary_leaves_extra_and_geometric_ones_out_of_the_headline():
    one = tried(fog_1=[0, 0, 1, 1], speckle_noise_1=[1, 1, 0, 0], rotation_1=[1, 1, 1, 1])
    metrics = one.summary()
    assert metrics["robustness/mild/accuracy"] == metrics["robustness/mean/accuracy"] == 1
    assert (metrics["robustness/extra/accuracy"], metrics["robustness/geometric/accuracy"]) == (0, 0.5)
    assert tried(rotation_1=[1, 1, 1, 1]).summary()["robustness/mild/accuracy"] == 0.5


def test_summary_compares_with_a_reference():
    names = {f"{name}_{severity}": [0, 0, 1, 0] for name in BENCHMARK for severity in SEVERITIES}
    one = tried(**names)
    twice = {name: dict.fromkeys(SEVERITIES, 0.5) for name in BENCHMARK}
    metrics = one.summary(Reference("q", 0.25, twice))
    assert metrics["robustness/fog/ce"] == 0.5
    assert metrics["robustness/mce"] == pytest.approx(50)
    # 0.25 - 0 over 0.5 - 0.25.
    assert metrics["robustness/relative_mce"] == pytest.approx(100)


def test_series_has_severities_as_steps():
    series = tried(fog_1=[0, 0, 1, 1], fog_5=[0, 0, 0, 0]).series()
    assert {severity: values["robustness/fog/accuracy"] for severity, values in series.items()} == {1: 1.0, 5: 0.5}
    assert series[5]["robustness/fog/accuracy_ci_low"] == pytest.approx(accuracy_interval(2, 4)[0])
    assert series[5]["robustness/ece"] == 0.25
