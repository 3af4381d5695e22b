"""Corrections of logits by hand, on heads, and the choice of their strength."""

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from optuna.trial import FixedTrial
from sklearn.base import clone

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head, head_class
from resnet_mlflow.heads.linear import from_linear
from resnet_mlflow.longtail.adjusted import adjust, logit_factor
from resnet_mlflow.longtail.corrections import correct
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.posthoc import choose, logit_offsets, mean_recall, prior_offsets, tau_normalize
from resnet_mlflow.longtail.priors import implied_prior
from resnet_mlflow.longtail.search import suggest_params
from resnet_mlflow.longtail.selection import hyperparameters
from resnet_mlflow.longtail.weights import effective_weights
from resnet_mlflow.registry.heads import HEADS

PARAMS = {"mlp": {"hidden": 8, "epochs": 2}}


def clusters(sizes: tuple[int, ...] = (60, 20, 6), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centers = np.random.default_rng(5).normal(size=(len(sizes), 6))
    noise = np.random.default_rng(seed).normal(size=(len(labels), 6))
    return (centers[labels] + noise).astype(np.float32), labels


def test_logit_adjustment_moves_the_decision_by_the_prior() -> None:
    # Posteriors 0.6 and 0.4 under a prior of 3 to 1 are 0.2 : 0.4 under an even one.
    logits = np.log([0.6, 0.4])
    assert_allclose(np.exp(logits + logit_offsets([3, 1], 1.0)), [0.8, 1.6])
    assert_array_equal(logit_offsets([3, 1], 0.0), [0, 0])


def test_logit_adjustment_is_optimal_on_a_known_problem() -> None:
    # One feature, classes N(0, 1) and N(2, 1), prior 9 to 1: posteriors cross at 1 + log(9) / 2, adjusted ones at 1.
    x = np.linspace(-3, 5, 801)
    log_posteriors = np.stack([-(x**2) / 2 + np.log(0.9), -((x - 2) ** 2) / 2 + np.log(0.1)], axis=1)
    assert x[log_posteriors.argmax(axis=1).argmax()] == pytest.approx(1 + np.log(9) / 2, abs=0.01)
    adjusted = log_posteriors + logit_offsets([90, 10], 1.0)
    assert x[adjusted.argmax(axis=1).argmax()] == pytest.approx(1, abs=0.011)


@given(st.floats(0, 2))
def test_tau_normalize_leaves_norms_to_the_power_of_the_rest(tau: float) -> None:
    rows = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    assert_allclose(np.linalg.norm(tau_normalize(rows, tau), axis=1), [5 ** (1 - tau), 2 ** (1 - tau), 0])


def test_prior_offsets_undo_the_prior_of_training() -> None:
    offsets = prior_offsets([1, 3], implied_prior=[3, 1])
    assert_allclose(np.exp(offsets[1] - offsets[0]), 9)
    assert_allclose(prior_offsets([5, 2], implied_prior=[5, 2]), 0)


@pytest.mark.parametrize("prior", [[0.5, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [[1.0, 2.0]]])
def test_prior_offsets_refuse_what_is_no_prior(prior: list[float]) -> None:
    with pytest.raises(InputError, match=r"test_prior must contain a fraction above 0 for each of the \d classes, got"):
        prior_offsets(prior)


def test_prior_offsets_refuse_other_numbers_of_classes() -> None:
    with pytest.raises(InputError, match="each of the 3 classes"):
        prior_offsets([1, 2], implied_prior=[1, 1, 1])


def test_mean_recall_ignores_classes_without_items_and_unknown_predictions() -> None:
    assert mean_recall(np.array([0, 0, 2, 2]), np.array([0, 5, 2, 2])) == 0.75


def test_choose_takes_the_first_of_equal_scores_and_returns_the_curve() -> None:
    best, curve = choose(lambda params: float(params["tau"] > 0), [{"tau": tau} for tau in (0.0, 0.5, 1.0)])
    assert best == {"tau": 0.5}
    assert curve == [({"tau": 0.0}, 0.0), ({"tau": 0.5}, 1.0), ({"tau": 1.0}, 1.0)]


@pytest.mark.parametrize("name", HEADS)
def test_adjusted_head_is_a_head(name: str) -> None:
    X, y = clusters()
    head = build_head(name, PARAMS.get(name, {}), 0).fit(X, y)
    offsets = np.array([0.0, 1.0, 2.0])
    adjusted = adjust(head, offsets, factor=0.5)
    assert_allclose(adjusted.logits(X), 0.5 * head.logits(X) + offsets)
    adjusted.calibrate(X, y)
    assert_allclose(adjusted.predict_proba(X).sum(axis=1), 1)
    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(adjusted))
    assert all(kind.startswith("resnet_mlflow.") for kind in untrusted)
    loaded = skops.io.loads(skops.io.dumps(adjusted), trusted=untrusted)
    assert_array_equal(loaded.predict_proba(X), adjusted.predict_proba(X))
    refitted = clone(adjusted).fit(X, y)
    assert_allclose(refitted.logits(X), adjusted.logits(X))


@pytest.mark.parametrize("name", ["mlp", "prototype", "linear"])
def test_adjusted_head_becomes_a_module_where_its_head_does(name: str) -> None:
    import torch

    X, y = clusters()
    adjusted = adjust(build_head(name, PARAMS.get(name, {}), 0).fit(X, y), [0.0, 1.0, 2.0], factor=0.5)
    with torch.inference_mode():
        assert_allclose(adjusted.to_torch()(torch.tensor(X)).numpy(), adjusted.logits(X), atol=1e-3)


def test_logit_factor_scales_only_what_is_no_log_probability() -> None:
    X, y = clusters()
    for name in HEADS:
        head = build_head(name, PARAMS.get(name, {}), 0).fit(X, y)
        factor = logit_factor(head, head.logits(X), y)
        assert (factor == 1.0) == head_class(name).gives_log_probabilities
        assert factor > 0


def test_correct_finds_the_tau_that_balances_a_biased_layer() -> None:
    # The layer is right but for a bias of log 9: tau = 1 for class sizes of 9 to 1 takes it away.
    head = from_linear([[1.0], [-1.0]], [np.log(9), 0.0], [0, 1])
    X = np.linspace(-3, 3, 121)[:, np.newaxis]
    y = (X[:, 0] < 0).astype(int)
    grid = [{"tau": tau} for tau in (0.0, 0.5, 1.0, 1.5)]
    corrected, chosen, curve = correct("logit_adjust_posthoc", head, np.array([90, 10]), (X, y), grid)
    assert chosen == {"tau": 1.0}
    assert mean_recall(y, corrected.predict(X)) == max(score for _, score in curve)
    assert [params for params, _ in curve] == grid


@pytest.mark.parametrize("method", ["logit_adjust_posthoc", "tau_norm"])
@pytest.mark.parametrize("name", ["mlp", "linear"])
def test_correct_scores_the_head_it_builds(method: str, name: str) -> None:
    X, y = clusters()
    X_val, y_val = clusters((20, 20, 20), seed=1)
    head = build_head(name, PARAMS.get(name, {}), 0).fit(X, y)
    before = head.logits(X_val)
    for tau in (0.0, 0.7):
        corrected, _, [(_, score)] = correct(method, head, np.bincount(y), (X_val, y_val), [{"tau": tau}])
        assert score == mean_recall(y_val, corrected.predict(X_val))
    assert_array_equal(head.logits(X_val), before)


@pytest.mark.parametrize(
    ("method", "chosen", "mass"),
    [
        ("none", {}, [9, 1]),
        ("focal", {"gamma": 1.0}, [9, 1]),
        ("resample_sqrt", {}, [3, 1]),
        ("reweight_sqrt+focal", {"gamma": 1.0}, [3, 1]),
        ("balanced_softmax", {}, [1, 1]),
        ("logit_adjust_loss", {"tau": 0.5}, [3, 1]),
        ("logit_adjust_posthoc", {"tau": 2.0}, [1, 9]),
        ("reweight_effective", {"beta": 0.9}, effective_weights([9, 1], 0.9) * [9, 1]),
    ],
)
def test_implied_prior_by_hand(method: str, chosen: dict[str, float], mass: list[float]) -> None:
    assert_allclose(implied_prior(method, [9, 1], chosen), np.array(mass) / np.sum(mass))


@pytest.mark.parametrize("method", [name for name, rule in METHODS.items() if rule.hyperparameters])
def test_suggest_params_stays_in_range_of_what_the_grid_spans(method: str) -> None:
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        params = suggest_params(method, study.ask())
        for name, rule in hyperparameters(method).items():
            assert rule.low <= params[name] <= rule.high
            assert all(rule.low <= value <= rule.high for value in (*rule.grid, rule.default))


def test_suggest_params_gives_back_an_earlier_trials() -> None:
    assert suggest_params("logit_adjust_posthoc", FixedTrial({"tau": 0.3})) == {"tau": 0.3}
    assert suggest_params("none", FixedTrial({})) == {}
