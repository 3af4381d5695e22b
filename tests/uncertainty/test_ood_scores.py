"""Scores of images unlike those of training, by other routes and on digits beside other pictures."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from resnet_mlflow.registry import load
from resnet_mlflow.registry.ood_scores import OOD_SCORES
from resnet_mlflow.uncertainty.detection import detect
from resnet_mlflow.uncertainty.scores import N_KEPT, K
from resnet_mlflow.uncertainty.unlike import fit_score, fit_unlike, score_images

RNG = np.random.default_rng(0)
TRAIN, LABELS = RNG.normal(size=(300, 8)).astype(np.float32), RNG.integers(0, 3, 300)
FEATURES, LOGITS = RNG.normal(size=(20, 8)).astype(np.float32), RNG.normal(size=(20, 3))


def score(name):
    return score_images(name, fit_score(name, TRAIN, LABELS), FEATURES, LOGITS)


def test_knn_is_the_cosine_to_the_kth_nearest():
    search = NearestNeighbors(n_neighbors=K, metric="cosine").fit(TRAIN)
    np.testing.assert_allclose(score("knn"), search.kneighbors(FEATURES)[0][:, -1], atol=1e-6)


def test_knn_keeps_so_many_images_and_no_more():
    many = RNG.normal(size=(N_KEPT + 7, 4)).astype(np.float32)
    assert fit_score("knn", many, np.zeros(len(many), np.int64))["bank"].shape == (N_KEPT, 4)
    few = fit_score("knn", many[:3], np.zeros(3, np.int64))
    assert score_images("knn", few, many[:2], LOGITS).shape == (2,)


def test_mahalanobis_is_the_distance_to_the_nearest_mean_by_the_covariance_within():
    means = np.stack([TRAIN[label == LABELS].mean(axis=0) for label in range(3)])
    from sklearn.covariance import LedoitWolf

    precision = LedoitWolf(assume_centered=True).fit((TRAIN - means[LABELS]).astype(np.float64)).precision_
    expected = cdist(FEATURES, means, "mahalanobis", VI=precision).min(axis=1) ** 2
    np.testing.assert_allclose(score("mahalanobis"), expected, rtol=1e-3)


def test_energy_and_max_softmax_follow_their_formulas():
    np.testing.assert_allclose(score("energy"), -np.log(np.exp(LOGITS).sum(axis=1)))
    np.testing.assert_allclose(score("max_softmax"), 1 - softmax(LOGITS, axis=1).max(axis=1))


@pytest.mark.parametrize("row", OOD_SCORES.values(), ids=OOD_SCORES)
def test_every_score_is_higher_far_from_training(scored, row):
    one = scored["linear"]
    kept = fit_score(row.name, one.train, one.train_labels)
    assert bool(kept) is bool(row.fit)
    assert callable(load(row.score))
    own = score_images(row.name, kept, one.features, one.logits)
    # Features of no image: those of the digits, shuffled among items by column. Logits that favour no class.
    strange = np.stack([RNG.permutation(column) for column in one.features.T], axis=1)
    other = score_images(row.name, kept, strange, 0.3 * one.logits)
    found = detect(own, other)
    assert found.auroc > 0.8
    assert found.auroc_interval[0] < found.auroc < found.auroc_interval[1] or found.auroc == 1


def test_detect_agrees_with_scikit_learn():
    own, other = RNG.integers(0, 20, 200), RNG.integers(5, 25, 300)  # with ties
    found = detect(own, other)
    truth = np.repeat([0, 1], [200, 300])
    assert found.auroc == pytest.approx(roc_auc_score(truth, np.concatenate([own, other])))
    low, high = found.auroc_interval
    assert low < found.auroc < high
    # Hanley and McNeil's standard error of about 0.021: 95 % are four of them wide.
    assert high - low == pytest.approx(0.084, abs=0.02)
    limit = np.sort(own)[189]  # of 200, 95 % are kept
    assert found.fpr95 == pytest.approx((other <= limit).mean())
    assert (found.n_own, found.n_other) == (200, 300)


def test_fit_unlike_keeps_what_was_asked_for():
    scores = np.arange(1, 101) / 100
    rule = fit_unlike("energy", scores, 0.95)
    kept = ~rule.flags({}, FEATURES, -scores[:, None])
    assert kept.sum() in (95, 96)
    assert fit_unlike("energy", scores, 1.0).threshold == 1
