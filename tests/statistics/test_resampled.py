import numpy as np
import pytest
from scipy import stats

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    accuracy_interval,
    cross_validated_difference,
    cross_validated_score,
    fold_scores,
    nadeau_bengio_test,
    resampled_score,
)

FOLDS = np.array([np.arange(100) % 5, np.arange(100) // 20])


def draw(accuracy, seed=0):
    return np.random.default_rng(seed).random(FOLDS.shape) < accuracy


def test_resampled_score_is_the_t_interval_with_a_larger_variance():
    values = [0.8, 0.9, 0.85, 0.7, 0.95]
    found = resampled_score(values, n_folds=5)
    error = np.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))
    assert found.interval == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), error))
    assert (found.mean, found.n_folds) == (pytest.approx(0.84), 5)


def test_fold_scores_are_those_of_each_fold():
    correct = draw(0.7)
    assert fold_scores(correct.astype(float), FOLDS)[5] == pytest.approx(correct[1, :20].mean())
    labels = np.arange(100) % 3
    balanced = fold_scores(correct.astype(float), FOLDS, labels)[0]
    rows = FOLDS[0] == 0
    assert balanced == pytest.approx(np.mean([correct[0, rows & (labels == c)].mean() for c in range(3)]))


def test_a_classifier_without_errors_has_an_interval():
    found = cross_validated_score(np.ones(FOLDS.shape), FOLDS)
    assert (found.mean, found.std) == (1.0, 0.0)
    assert found.interval == pytest.approx(accuracy_interval(100, 100))
    balanced = cross_validated_score(np.ones(FOLDS.shape), FOLDS, classes=np.arange(100) % 10)
    assert balanced.interval[0] < 0.97


def test_cross_validated_score_is_never_shorter_than_over_the_items():
    for seed in range(20):
        correct = draw(0.8, seed)[:1]
        low, high = cross_validated_score(correct, FOLDS[:1]).interval
        item_low, item_high = accuracy_interval(int(correct.sum()), 100)
        assert low <= item_low + 1e-12
        assert high >= item_high - 1e-12


def test_cross_validated_difference_takes_the_corrected_test():
    better, worse = draw(0.9, 1), draw(0.6, 2)
    found = cross_validated_difference(better, worse, FOLDS)
    gains = fold_scores(better.astype(float), FOLDS) - fold_scores(worse.astype(float), FOLDS)
    assert found.difference == pytest.approx(gains.mean())
    assert found.p_value >= nadeau_bengio_test(gains, n_train=4, n_test=1)[1]
    assert found.interval[0] > 0
    assert (found.n_seeds, found.n_items) == (10, 100)


def test_equal_methods_are_not_told_apart_and_more_often_than_promised_neither():
    same = cross_validated_difference(draw(0.8), draw(0.8), FOLDS)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.interval[0] < 0 < same.interval[1]
    found = [cross_validated_difference(draw(0.8, 2 * i), draw(0.8, 2 * i + 1), FOLDS) for i in range(200)]
    assert np.mean([one.p_value < 0.05 for one in found]) <= 0.05


def test_a_difference_that_is_the_same_in_every_fold_is_not_certain():
    first, second = np.ones((1, 100)), np.ones((1, 100))
    second[0, :5] = 0  # one item of each fold
    found = cross_validated_difference(first, second, FOLDS[:1])
    assert found.difference == pytest.approx(0.05)
    assert found.p_value == 1.0
    assert found.interval[1] > found.interval[0]


def test_folds_must_fit():
    with pytest.raises(InputError, match=r"one fold per prediction and at least two folds, got \(1, 3\) for \(1, 4\)"):
        cross_validated_score([1, 0, 1, 1], [0, 1, 0])
