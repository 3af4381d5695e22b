"""Prediction sets: quantiles by hand, MAPIE's sets, and coverage on digits over random splits."""

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from scipy.stats import betabinom
from sklearn.base import BaseEstimator, ClassifierMixin

from resnet_mlflow.errors import InputError
from resnet_mlflow.uncertainty.conformal import SetRule, conformal_quantile, fit_sets, n_needed

NAMES = [str(digit) for digit in range(10)]
COVERAGE = 0.9


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_n_needed_is_the_formal_minimum(coverage, needed):
    assert n_needed(coverage) == needed
    assert conformal_quantile(np.arange(needed) / needed, coverage) == (needed - 1) / needed  # the largest
    with pytest.raises(
        InputError, match=rf"coverage={coverage:g} needs at least {needed} calibration images, got {needed - 1}"
    ):
        conformal_quantile(np.zeros(needed - 1), coverage)


class Given(ClassifierMixin, BaseEstimator):
    """An estimator whose features are its probabilities."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return X.argmax(axis=1)


@pytest.mark.parametrize("head", ["linear", "prototype"])
def test_sets_are_those_of_mapie(scored, head):
    one = scored[head]
    calibration, test = one.halves(0)
    X, y = one.probabilities.astype(np.float64), one.labels
    peer = SplitConformalClassifier(Given().fit(X, y), COVERAGE, conformity_score="lac", prefit=True)
    _, theirs = peer.conformalize(X[calibration], y[calibration]).predict_set(X[test])
    rule = fit_sets(X[calibration], y[calibration], COVERAGE, "all", NAMES)
    np.testing.assert_array_equal(rule.sets(X[test], NAMES, may_be_empty=True), theirs[..., 0])


def covered(sets, labels):
    return sets[np.arange(len(labels)), labels]


@pytest.mark.parametrize("head", ["linear", "prototype"])
def test_sets_cover_what_they_promise_over_random_splits(scored, head):
    one, n_inside, means = scored[head], 0, []
    for seed in range(50):
        calibration, test = one.halves(seed)
        rule = fit_sets(one.probabilities[calibration], one.labels[calibration], COVERAGE, "all", NAMES)
        sets = rule.sets(one.probabilities[test], NAMES, may_be_empty=True)
        n, rank = len(calibration), int(np.ceil((len(calibration) + 1) * COVERAGE))
        # The coverage of sets of n images is a beta variable (Vovk 2012), of test images a binomial of it.
        low, high = betabinom.interval(0.95, len(test), rank, n + 1 - rank)
        hits = int(covered(sets, one.labels[test]).sum())
        n_inside += low <= hits <= high
        means.append(hits / len(test))
    assert n_inside >= 43  # 42 or fewer of 50 have a chance of 1 in 1000
    assert np.mean(means) == pytest.approx(COVERAGE, abs=0.007)  # 2.6 standard errors of 50 splits


def test_sets_per_class_cover_each_class(scored):
    one, hits, n = scored["prototype"], np.zeros(10), np.zeros(10)
    marginal = np.zeros(10)
    for seed in range(50):
        calibration, test = one.halves(seed)
        rule = fit_sets(one.probabilities[calibration], one.labels[calibration], COVERAGE, "class", NAMES)
        found = covered(rule.sets(one.probabilities[test], NAMES, may_be_empty=True), one.labels[test])
        all_together = SetRule(COVERAGE, "all", rule.least).sets(one.probabilities[test], NAMES)
        hits += np.bincount(one.labels[test], found, minlength=10)
        marginal += np.bincount(one.labels[test], covered(all_together, one.labels[test]), minlength=10)
        n += np.bincount(one.labels[test], minlength=10)
    # About 60 images of each class calibrate: ceil(61 * 0.9) / 61 = 0.902 is what they promise.
    assert (hits / n > 0.9 - 0.015).all()
    assert (hits / n < 0.9 + 1 / 50 + 0.015).all()
    assert (marginal / n).min() < 0.85, "sets over all images leave out classes"


def test_sets_per_group_hold_within_groups(scored):
    one = scored["prototype"]
    groups = np.where(np.isin(one.labels, [1, 8]), "hard", "easy")
    calibration, test = one.halves(0)
    rule = fit_sets(
        one.probabilities[calibration], one.labels[calibration], COVERAGE, "group", NAMES, groups[calibration]
    )
    assert set(rule.by_group) == {"hard", "easy"}
    assert rule.by_group["hard"] < rule.least < rule.by_group["easy"]
    found = covered(rule.sets(one.probabilities[test], NAMES, groups[test]), one.labels[test])
    assert found[groups[test] == "hard"].mean() > 0.85
    # A group that calibration did not know has the sets over all images.
    strange = rule.sets(one.probabilities[test], NAMES, ["new"] * len(test))
    np.testing.assert_array_equal(strange, rule.sets(one.probabilities[test], NAMES))


def test_one_image_of_each_group_calibrates():
    scores = np.repeat(np.linspace(0, 0.9, 10), 5)
    probabilities = np.stack([1 - scores, scores], axis=1)
    labels = np.zeros(50, dtype=np.int64)
    rule = fit_sets(probabilities, labels, COVERAGE, "all", ["a", "b"], independent=np.arange(0, 50, 5))
    assert (rule.n_images, rule.least) == (10, pytest.approx(0.1))


def test_sets_leave_classes_with_few_images_to_all_images():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 8])
    probabilities = rng.dirichlet([2, 2], 48)
    rule = fit_sets(probabilities, labels, COVERAGE, "class", ["many", "few"])
    assert set(rule.by_class) == {"many"}
    with pytest.raises(InputError, match="sets_per=class needs at least 9 calibration images of at least one class"):
        fit_sets(probabilities[np.r_[:8, 40:48]], labels[np.r_[:8, 40:48]], COVERAGE, "class", ["many", "few"])


def test_sets_hold_the_most_probable_class():
    rule = SetRule(COVERAGE, "all", 0.9)
    assert rule.sets(np.array([[0.6, 0.4]]), ["a", "b"]).tolist() == [[True, False]]
    assert rule.sets(np.array([[0.6, 0.4]]), ["a", "b"], may_be_empty=True).tolist() == [[False, False]]
