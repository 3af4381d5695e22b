"""Suspicious labels: ranked, counted, and judged by heads that never saw the image or its twin."""

import numpy as np
import pytest

from benchmarks.planting import flip_labels
from resnet_mlflow.audit.crossfit import N_FOLDS, cross_fit, draw_folds
from resnet_mlflow.audit.labels import class_overlaps, count_wrong, judge_labels


def clusters(seed, n_images=1200, n_classes=5, spread=1.0):
    """Overlapping clusters and the classes they are of."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, n_classes, n_images)
    centres = 1.6 * np.eye(n_classes, 12)
    return (centres[classes] + spread * 0.6 * rng.normal(size=(n_images, 12))).astype(np.float32), classes


def test_draw_folds_keeps_groups_together_and_spreads_classes():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 4, 1000), rng.integers(0, 600, 1000)
    labels[groups < 20] = 3
    folds = draw_folds(labels, groups, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    table = np.array([[np.sum((folds == fold) & (labels == label)) for fold in range(N_FOLDS)] for label in range(4)])
    assert (table > 0.12 * table.sum(axis=1, keepdims=True)).all()


def test_cross_fit_judges_no_image_by_a_head_that_saw_its_twin():
    """Copies of one picture under labels drawn at random: a head that had seen the others would know the label."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(60, 200)).astype(np.float32)
    features = np.repeat(pictures, 4, axis=0)
    labels = np.repeat(rng.integers(0, 2, 60), 4)
    apart = cross_fit(features, labels, np.repeat(np.arange(60), 4), 2)
    leaking = cross_fit(features, labels, np.arange(240), 2)
    accuracies = [np.mean(one.probabilities.argmax(axis=1) == labels) for one in (apart, leaking)]
    assert accuracies[0] < 0.7 < 0.95 < accuracies[1]


def test_cross_fit_does_not_judge_a_class_that_only_the_image_has():
    features, labels = clusters(0, n_images=200, n_classes=3)
    labels[0] = 3
    fitted = cross_fit(features, labels, np.arange(200), 4)
    assert not fitted.judged[0]
    assert fitted.judged[1:].all()
    np.testing.assert_allclose(fitted.probabilities.sum(axis=1), 1)
    assert judge_labels(fitted.probabilities, labels).suspects(fitted.judged, labels).tolist().count(0) == 0


def test_cross_fit_judges_nobody_where_all_are_twins_of_each_other():
    features, labels = clusters(0, n_images=60, n_classes=2)
    fitted = cross_fit(features, labels, np.zeros(60, np.int64), 2)
    assert not fitted.judged.any()
    judged = judge_labels(fitted.probabilities, labels)
    assert len(judged.suspects(fitted.judged, labels)) == 0


def test_count_wrong_bears_labels_that_mean_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    fitted = cross_fit(rng.normal(size=(300, 8)).astype(np.float32), labels, np.arange(300), 2)
    count, (low, high), wrong = count_wrong(fitted.probabilities, labels)
    assert 0 <= low <= count <= high <= 300
    assert np.isfinite(wrong).all()


@pytest.mark.parametrize("n_wrong", [0, 75, 300])
def test_count_wrong_holds_the_true_number(n_wrong):
    hits = 0
    for seed in range(4):
        features, classes = clusters(seed)
        labels = flip_labels(classes, n_wrong, 5, seed)
        fitted = cross_fit(features, labels, np.arange(len(labels)), 5, seed)
        count, (low, high), wrong = count_wrong(fitted.probabilities, labels)
        assert 0 <= low <= count <= high <= len(labels)
        assert wrong.min() >= 0
        assert wrong.max() <= 1
        assert abs(wrong.sum() - count) < 0.2 * count + 5
        hits += low <= n_wrong <= high
    assert hits >= 3


def test_count_wrong_does_not_count_what_is_merely_hard():
    """Clusters that overlap so that a third is held for another class, and not one label is wrong."""
    features, classes = clusters(1, spread=2.2)
    fitted = cross_fit(features, classes, np.arange(len(classes)), 5)
    n_disputed = np.sum(fitted.probabilities.argmax(axis=1) != classes)
    _, (low, _), _ = count_wrong(fitted.probabilities, classes)
    assert n_disputed > 300
    assert low < 15


def test_judge_labels_ranks_wrong_labels_first():
    features, classes = clusters(2)
    labels = flip_labels(classes, 75, 5, seed=3)
    fitted = cross_fit(features, labels, np.arange(len(labels)), 5)
    judged = judge_labels(fitted.probabilities, labels)
    is_wrong = labels != classes
    assert is_wrong[judged.ranking[:50]].mean() > 0.9
    found = judged.suspects(fitted.judged, labels)
    assert abs(len(found) - 75) < 40
    assert np.mean(judged.suggested[found] == classes[found]) > 0.65


def test_class_overlaps_names_the_classes_that_are_one():
    rng = np.random.default_rng(0)
    features, classes = clusters(3)
    features[classes == 4] = features[rng.choice(np.flatnonzero(classes == 3), np.sum(classes == 4))]
    fitted = cross_fit(features, classes, np.arange(len(classes)), 5)
    (pair,) = class_overlaps(fitted.probabilities, classes, least=0.3)
    assert (pair.first, pair.second) == (3, 4)
    assert pair.interval[0] < pair.error < pair.interval[1]
