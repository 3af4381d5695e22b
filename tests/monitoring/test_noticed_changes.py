"""What is noticed of a batch: nothing where nothing has changed, and of changes the kind that there is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from resnet_mlflow.monitoring.changes import Pool, is_noticed, shares_p_values
from resnet_mlflow.monitoring.observed import PICTURES, Observed, measure_pictures
from resnet_mlflow.monitoring.strange import strangest
from resnet_mlflow.serving.looks import level_of_alarm

LEVEL = 0.025


def changed_in(pool, level=LEVEL):
    return {change.name for change in pool.changes(level) if change.noticed}


def batch(pool, rows, **parts):
    return Pool(pool.reference, replace(pool.images.select(rows), **parts))


@pytest.fixture(scope="module")
def rows(pool):
    return np.random.default_rng(0).permutation(len(pool.images))[:100]


def test_batches_without_change_seldom_alarm(digits):
    # 60 batches of ten splits; the benchmark `monitor` has 200, and sequences of looks.
    rng, alarms = np.random.default_rng(0), 0
    for seed in range(10):
        pool = digits.pool(seed)
        drawn = (rng.permutation(len(pool.images))[:n] for n in (10, 20, 40, 80, 160, 290))
        alarms += sum(pool.is_noticed(rows, LEVEL) for rows in drawn)
    assert alarms <= binom.ppf(0.999, 60, LEVEL)


def test_looks_at_one_version_share_a_budget():
    assert sum(level_of_alarm(look, 0.05) for look in range(1, 10_000)) == pytest.approx(0.05, abs=1e-5)


def test_class_shares_alone(pool, rows):
    of_one = np.flatnonzero(pool.images.labels == 3)[:40]
    assert "class shares" in changed_in(batch(pool, of_one))
    labels = np.where(np.arange(100) < 50, 7, pool.images.labels[rows])
    (change,) = [one for one in batch(pool, rows, labels=labels).changes(LEVEL) if one.noticed]
    assert change.name == "class shares"
    assert change.description.startswith("7: 5")


def test_confidence_alone(pool, rows):
    assert changed_in(batch(pool, rows, confidences=pool.images.confidences[rows] * 0.8)) == {"confidence"}


def test_pictures_alone(pool, rows):
    darker = pool.images.pictures[rows] * np.array([0.7, 1, 1], np.float32)
    (change,) = [one for one in batch(pool, rows, pictures=darker).changes(LEVEL) if one.noticed]
    assert change.name == "brightness"
    assert change.description == "median 0.211, was 0.307"


def test_sharpness_alone(pool, rows):
    rng = np.random.default_rng(5)
    own, theirs = pool.reference.images.pictures.copy(), pool.images.pictures[rows].copy()
    own[:, 2], theirs[:, 2] = rng.uniform(0.4, 1, len(own)), rng.uniform(0.3, 0.9, len(theirs))
    reference = replace(pool.reference, images=replace(pool.reference.images, pictures=own))
    found = Pool(reference, replace(pool.images.select(rows), pictures=theirs)).changes(LEVEL)
    assert len(found) == 6
    assert [one.name for one in found if one.noticed] == ["sharpness"]


def test_features_alone(pool, rows):
    shifted = pool.images.features[rows].copy()
    shifted[:, :40] += 1
    assert changed_in(batch(pool, rows, features=shifted)) == {"features"}


def test_answers_alone_have_two_tests(pool, rows):
    answers = Observed(pool.images.labels[rows], pool.images.confidences[rows])
    found = Pool(pool.reference, answers).changes(LEVEL)
    assert [change.name for change in found] == ["confidence", "class shares"]


def test_p_values_are_corrected_for_the_number_of_tests(pool, rows):
    found = batch(pool, rows).changes(LEVEL)
    # Digits are too small for sharpness.
    assert [one.name for one in found] == ["features", "confidence", "brightness", "contrast", "class shares"]
    least = min(found, key=lambda one: one.p_value)
    assert least.adjusted == pytest.approx(min(1, 5 * least.p_value))


@pytest.mark.parametrize("level", [1e-6, 0.02, 0.3])
def test_is_noticed_says_what_changes_say(digits, level):
    pool = digits.pool(1)
    for size in (10, 80):
        rows = np.random.default_rng(size).permutation(len(pool.images))[:size]
        assert pool.is_noticed(rows, level) == is_noticed(Pool(pool.reference, pool.images.select(rows)).changes(level))


def test_shares_p_values_of_equal_counts_are_one():
    assert shares_p_values(np.array([50, 50]), np.array([5, 5])).tolist() == [1, 1]


def test_the_strangest_images_come_first(pool, rows):
    pictures = pool.images.pictures[rows].copy()
    pictures[[3, 8], PICTURES.index("brightness")] = (0.9, 0.8)
    changed = batch(pool, rows, pictures=pictures)
    paths = [f"{row}.png" for row in range(100)]
    found = strangest(changed, changed.changes(LEVEL), paths, 6)
    assert {("3.png", "brightness"), ("8.png", "brightness")} < {(one.path, one.by) for one in found}
    assert found[0].beyond == round(300 / 301, 4)
    assert [one.beyond for one in found] == sorted((one.beyond for one in found), reverse=True)
    assert strangest(changed, changed.changes(LEVEL), paths, 0) == []


def test_the_strangest_are_ranked_by_what_has_changed(pool, rows):
    confidences = pool.images.confidences[rows] * 0.8
    confidences[5] = 0.05
    changed = batch(pool, rows, confidences=confidences)
    found = strangest(changed, changed.changes(LEVEL), [str(row) for row in range(100)], 100)
    assert (found[0].path, found[0].by) == ("5", "confidence")
    assert {one.by for one in found} == {"confidence"}


def test_measure_pictures_by_hand():
    stripes = np.zeros((2, 128, 128, 3), np.uint8)
    stripes[0, :, 64:] = 255  # a step from pixel to pixel
    stripes[1] = np.linspace(100, 150, 128)[None, :, None]
    (bright, spread, sharp), (_, narrow, soft) = measure_pictures(stripes)
    assert (bright, spread, sharp) == pytest.approx((0.5, 1, 1), abs=0.01)
    assert narrow == pytest.approx(0.9 * 50 / 255, abs=0.01)
    assert soft <= 0.5
    assert np.isnan(measure_pictures(stripes[:, :40, :40])[:, 2]).all()
