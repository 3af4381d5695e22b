"""Every method on every head it applies to, in tiny fits."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.heads.mlp import MLPHead
from resnet_mlflow.longtail.adjusted import AdjustedHead
from resnet_mlflow.longtail.fitting import FitOptions, FittedMethod, checked_head_params, fit_method
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.posthoc import mean_recall
from resnet_mlflow.longtail.selection import select_methods
from resnet_mlflow.longtail.weights import effective_weights, inverse_weights, per_item_scale
from resnet_mlflow.registry.heads import HEADS

SIZES = (160, 48, 16, 8)
QUICK: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 40, "batch_size": 64},
    "mlp": {"hidden": 32, "epochs": 60, "learning_rate": 1e-2},
}
PAIRS = [(method, head) for head in HEADS for method in select_methods("all", head)]


def make_split(sizes: tuple[int, ...], seed: int) -> FeatureSplit:
    """Return overlapping clusters; the later a class, the fewer items it may have."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centers = np.random.default_rng(3).normal(size=(len(sizes), 10))
    noise = np.random.default_rng(seed).normal(size=(len(labels), 10))
    features = (1.1 * centers[labels] + noise).astype(np.float32)
    return FeatureSplit(features, labels.astype(np.int64), np.arange(len(labels)).astype(str))


SPLITS = {"train": make_split(SIZES, 0), "val": make_split((60,) * 4, 1)}
TEST = make_split((250,) * 4, 2)


def fit(method: str, head: str, seed: int = 0, **options: Any) -> FittedMethod:
    return fit_method(method, head, QUICK.get(head, {}), SPLITS, seed, FitOptions(**options))


def score(head: HeadBase, split: FeatureSplit = TEST) -> float:
    return mean_recall(split.labels, head.predict(split.features))


@pytest.fixture(scope="module")
def baselines() -> dict[str, FittedMethod]:
    return {head: fit("none", head) for head in HEADS}


@pytest.mark.parametrize(("method", "head"), PAIRS)
def test_fit_method_gives_a_head_that_can_be_stored(method: str, head: str, baselines: dict[str, FittedMethod]) -> None:
    fitted = fit(method, head, base=baselines[head].head)
    assert list(fitted.chosen) == list(METHODS[method].hyperparameters)
    grid = [rule.grid for rule in METHODS[method].hyperparameters.values()]
    assert len(fitted.curve) == (len(grid[0]) if grid else 1)
    assert fitted.val_score == max(score for _, score in fitted.curve) == score(fitted.head, SPLITS["val"])
    assert (fitted.chosen, fitted.val_score) in fitted.curve
    # No remedy may ruin a problem that plain training solves.
    assert score(fitted.head) > score(baselines[head].head) - 0.05
    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(fitted.head))
    loaded = skops.io.loads(skops.io.dumps(fitted.head), trusted=untrusted)
    assert_array_equal(loaded.predict_proba(TEST.features), fitted.head.predict_proba(TEST.features))


@pytest.mark.parametrize(
    "method",
    [
        "resample_balanced",
        "reweight_inverse",
        "ldam_drw",
        "balanced_softmax",
        "logit_adjust_posthoc",
        "tau_norm",
        "crt",
    ],
)
def test_remedies_help_a_linear_head(method: str, baselines: dict[str, FittedMethod]) -> None:
    assert score(fit(method, "linear").head) > score(baselines["linear"].head) + 0.02


@pytest.mark.parametrize("head", HEADS)
def test_fit_method_repeats_to_the_bit_and_follows_the_seed(head: str) -> None:
    method = "resample_balanced" if "resample_balanced" in select_methods("all", head) else "logit_adjust_posthoc"
    first, again, other = (fit(method, head, seed).head.logits(TEST.features) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert head == "prototype" or not np.array_equal(first, other)


@pytest.mark.parametrize("head", HEADS)
def test_balanced_data_makes_every_method_equal_to_none(head: str) -> None:
    splits = {"train": make_split((60,) * 4, 5), "val": SPLITS["val"]}
    params = QUICK.get(head, {})
    plain = fit_method("none", head, params, splits, 0)
    for method in select_methods("all", head):
        tuned = fit_method(method, head, params, splits, 0, FitOptions(base=plain.head, tune=False))
        # cRT and NCM are other classifiers; LDAM's and focal's margins act on balanced classes too.
        noise = 0.06 if method in ("crt", "ncm", "ldam_drw", "focal") else 0.03
        assert abs(score(tuned.head) - score(plain.head)) <= noise, method


def test_exact_methods_are_none_to_the_bit_on_balanced_data() -> None:
    splits = {"train": make_split((30,) * 4, 5), "val": SPLITS["val"]}
    plain = fit_method("none", "linear", QUICK["linear"], splits, 0).head.logits(TEST.features)
    for method in ("oversample", "undersample", "smote", "reweight_inverse", "reweight_sqrt", "balanced_softmax"):
        fitted = fit_method(method, "linear", QUICK["linear"], splits, 0)
        assert_allclose(fitted.head.logits(TEST.features), plain, atol=1e-4, err_msg=method)


def test_methods_that_correct_afterwards_start_from_the_head_given(baselines: dict[str, FittedMethod]) -> None:
    base = baselines["linear"].head
    adjusted = fit("logit_adjust_posthoc", "linear", base=base).head
    assert isinstance(adjusted, AdjustedHead)
    assert adjusted.head_ is base
    given, fitted_first = (fit("tau_norm", "linear", base=start).head.predict(TEST.features) for start in (base, None))
    assert_array_equal(given, fitted_first)


def test_fixed_parameters_are_not_chosen() -> None:
    fitted = fit("logit_adjust_posthoc", "prototype", params={"tau": 0.37})
    assert fitted.chosen == {"tau": 0.37}
    assert len(fitted.curve) == 1
    assert fit("tau_norm", "linear", tune=False).chosen == {"tau": 1.0}


def test_combinations_choose_over_the_product_of_their_grids(baselines: dict[str, FittedMethod]) -> None:
    fitted = fit("focal+logit_adjust_posthoc", "linear", base=baselines["linear"].head)
    assert len(fitted.curve) == 3 * 21
    assert list(fitted.chosen) == ["gamma", "tau"]
    forced = fit("force:resample_balanced+balanced_softmax", "linear").head.predict(TEST.features)
    # Corrected twice, the tail wins more than its share of 250.
    assert np.bincount(forced)[-1] > 300


def test_reweighted_svm_has_scikit_learns_balanced_weights() -> None:
    ours = fit("reweight_inverse", "svm").head
    theirs = build_head("svm", {"class_weight": "balanced"}, 0).fit(SPLITS["train"].features, SPLITS["train"].labels)
    assert_allclose(ours.logits(TEST.features), theirs.logits(TEST.features), atol=1e-6)


def test_reweighted_votes_of_neighbours_are_counted_by_weight() -> None:
    fitted = fit("reweight_effective", "knn", params={"beta": 0.99}).head
    plain = fit("none", "knn").head.predict_proba(TEST.features)
    weights = per_item_scale(effective_weights(SIZES, 0.99), SIZES)
    expected = plain * weights / (plain * weights).sum(axis=1, keepdims=True)
    assert_allclose(fitted.predict_proba(TEST.features), expected, atol=1e-5)


def test_linear_losses_are_minimised_where_lbfgs_finds_the_minimum() -> None:
    params = {"epochs": 400, "learning_rate": 0.5, "batch_size": 232, "weight_decay": 1e-2}
    ours = fit_method("reweight_inverse", "linear", params, SPLITS, 0).head
    weights = per_item_scale(inverse_weights(SIZES), SIZES)
    # The sum of 232 losses weighs C against half the squared norm: 1 / C = 232 * weight_decay.
    peer = build_head("linear", {"C": 1 / 2.32, "class_weight": dict(enumerate(weights.tolist()))}, 0)
    peer.fit(SPLITS["train"].features, SPLITS["train"].labels)
    agreement = (ours.predict(TEST.features) == peer.predict(TEST.features)).mean()
    assert agreement > 0.97


def layer(head: HeadBase) -> NDArray[Any]:
    assert isinstance(head, LinearHead | MLPHead)
    return head.coef_ if isinstance(head, LinearHead) else head.output_weight_


def test_ldam_gives_directions_of_equal_length_and_no_bias() -> None:
    head = fit("ldam_drw", "linear", tune=False).head
    assert isinstance(head, LinearHead)
    assert_allclose(np.linalg.norm(layer(head), axis=1), 30)
    assert not head.intercept_.any()
    assert head.preprocessing == "cl2n"
    assert np.abs(head.logits(TEST.features)).max() <= 30 + 1e-6


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_lws_only_scales_the_rows_of_the_layer(name: str, baselines: dict[str, FittedMethod]) -> None:
    base = baselines[name].head
    ratios = layer(fit("lws", name, base=base).head) / layer(base)
    assert_allclose(ratios, np.broadcast_to(ratios[:, :1], ratios.shape), rtol=1e-4)
    assert ratios[-1, 0] > ratios[0, 0]


def test_crt_keeps_what_lies_below_the_last_layer(baselines: dict[str, FittedMethod]) -> None:
    base, crt = baselines["mlp"].head, fit("crt", "mlp", base=baselines["mlp"].head).head
    assert isinstance(base, MLPHead)
    assert isinstance(crt, MLPHead)
    assert_array_equal(crt.hidden_weight_, base.hidden_weight_)
    assert not np.allclose(crt.output_weight_, base.output_weight_)


def test_ncm_is_the_nearest_of_centred_means_of_unit_length() -> None:
    fitted = fit("ncm", "linear").head.predict(TEST.features)
    train = SPLITS["train"]
    mean = train.features.mean(axis=0, dtype=np.float64)
    unit = [(X - mean) / np.linalg.norm(X - mean, axis=1, keepdims=True) for X in (train.features, TEST.features)]
    means = np.stack([unit[0][train.labels == label].mean(axis=0) for label in range(4)])
    assert_array_equal(fitted, ((unit[1][:, np.newaxis] - means) ** 2).sum(axis=2).argmin(axis=1))


def test_memory_mapped_features_are_read_only(tmp_path: Any) -> None:
    np.save(tmp_path / "f.npy", SPLITS["train"].features)
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    train = FeatureSplit(mapped, SPLITS["train"].labels, SPLITS["train"].item_ids)
    for head in ("linear", "mlp"):
        params = QUICK[head] | {"preprocessing": "none"}
        fit_method("none", head, params, {"train": train, "val": train}, 0)


@pytest.mark.parametrize(
    ("method", "head", "params", "options", "message"),
    [
        ("ldam_drw", "svm", {}, {}, "must apply to head svm, got 'ldam_drw'"),
        ("none", "svm", {"class_weight": "balanced"}, {}, "must not set class_weight, because methods do, got 'bal"),
        ("none", "linear", {"C": 1.0}, {}, "got the L-BFGS parameter 'C'"),
        ("none", "linear", {"solver": "lbfgs"}, {}, "trained with solver sgd .* got 'lbfgs'"),
        ("none", "linear", {"epoch": 3}, {}, "did you mean 'epochs'"),
        ("focal", "linear", {}, {"params": {"tau": 1.0}}, "parameters of focal must be among gamma, got 'tau'"),
        ("none", "linear", {}, {"params": {"tau": 1.0}}, "must be among none, got 'tau'"),
        ("focal", "linear", {}, {"params": {"gamma": float("nan")}}, "gamma of focal must be in .* got nan"),
        ("focal", "linear", {}, {"params": {"gamma": -1.0}}, "gamma of focal must be in .* got -1"),
        ("reweight_effective", "svm", {}, {"params": {"beta": 1.0}}, "beta of reweight_effective must be in .* got 1"),
    ],
)
def test_fit_method_refuses(
    method: str, head: str, params: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_method(method, head, params, SPLITS, 0, FitOptions(**options))


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_fit_method_refuses_a_class_without_training_items(head: str) -> None:
    splits = {"train": make_split((20, 10, 5), 0), "val": SPLITS["val"]}
    with pytest.raises(InputError, match="at least 1 training image, got 0 of class 3"):
        fit_method("none", head, {}, splits, 0)


def test_checked_head_params_keeps_what_is_given() -> None:
    assert checked_head_params("svm", {"C": 2.0}) == {"C": 2.0}
    assert checked_head_params("linear", {"learning_rate": 1.0})["learning_rate"] == 1.0


def test_heads_without_gradients_are_fitted_without_torch() -> None:
    code = """
import sys
import numpy as np
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.longtail import groups, posthoc, priors, profiles, search, selection
from resnet_mlflow.longtail.fitting import fit_method
rng = np.random.default_rng(0)
labels = np.repeat([0, 1, 2], [20, 9, 7])
split = FeatureSplit(rng.normal(size=(36, 4)).astype(np.float32), labels, labels.astype(str))
for head in ("svm", "knn", "prototype"):
    for method in selection.select_methods("all", head):
        if method != "ncm":
            fit_method(method, head, {}, {"train": split, "val": split}, 0)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
