"""Every row of the remedies does something, and something of its own; a row that could not does not import."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head, head_class
from resnet_mlflow.longtail.corrections import correct
from resnet_mlflow.longtail.decoupled import Stage2
from resnet_mlflow.longtail.losses import LongTailLoss, build_loss
from resnet_mlflow.longtail.method import ANY_HEAD, Hyperparameter, Kind, Method
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.networks import fit_on_loss
from resnet_mlflow.longtail.priors import implied_prior
from resnet_mlflow.longtail.samplers import build_row_sampler
from resnet_mlflow.registry import load
from resnet_mlflow.registry.heads import HEADS

COUNTS = np.array([60, 15, 4])
LABELS = np.repeat([0, 1, 2], COUNTS)
FEATURES = np.random.default_rng(0).normal(size=(len(LABELS), 5)).astype(np.float32) + LABELS[:, np.newaxis]
VAL = FEATURES[::2], LABELS[::2]
# What a builder of each kind is called with, beside its hyperparameters.
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "sampling": ((LABELS, COUNTS, 10, 0, 99), {}),
    "resampling": ((LABELS, 0), {}),
    "synthesis": ((FEATURES, LABELS, 0), {}),
    "weighting": ((COUNTS,), {}),
    "loss": ((COUNTS,), {"n_epochs": 10, "weights": None, "label_smoothing": 0.1}),
    "posthoc": ((None, COUNTS, VAL), {}),
    "decoupled": ((None, None), {}),
}
ROWS = [pytest.param(method, id=name) for name, method in METHODS.items() if method.kind != "none"]


def of_kind(*kinds: Kind) -> list[Any]:
    return [pytest.param(method, id=name) for name, method in METHODS.items() if method.kind in kinds]


@pytest.fixture(scope="module")
def fitted() -> Any:
    return build_head("linear", {"solver": "sgd", "epochs": 20}, 0).fit(FEATURES, LABELS)


def test_every_kind_but_none_says_what_it_is_called_with() -> None:
    assert set(CALLS) == set(get_args(Kind)) - {"none"}
    assert [name for name, method in METHODS.items() if method.kind == "none"] == ["none"]


@pytest.mark.parametrize("method", ROWS)
def test_every_builder_is_there_and_takes_what_its_kind_is_called_with(method: Method) -> None:
    builder: Callable[..., Any] = load(method.builder)
    args, kwargs = CALLS[method.kind]
    # What a post-hoc method chooses is given to its correction, not to its builder.
    params = {} if method.kind == "posthoc" else method.own({})
    inspect.signature(builder).bind(*args, **kwargs, **params)


@pytest.mark.parametrize("kind", sorted(CALLS))
@pytest.mark.parametrize("builder", ["", "resnet_mlflow.longtail.losses", "resnet_mlflow.longtail.losses:", ":loss"])
def test_a_row_without_a_builder_does_not_import(kind: Kind, builder: str) -> None:
    with pytest.raises(ValueError, match=r"^a method must name its builder as module:attribute, got .* for 'mine'; "):
        Method("mine", kind, ANY_HEAD, "nobody", builder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": "magic"}, "^kind must be one of none, sampling, .*, got 'magic' for method 'mine'$"),
        ({"removed": "tau"}, "^removed must be a number or a hyperparameter, got 'tau' for 'mine'$"),
    ],
)
def test_a_row_that_contradicts_itself_does_not_import(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method(**{"name": "mine", "kind": "loss", "applies_to": ANY_HEAD, "reference": "me", "builder": "a:b"} | row)


@pytest.mark.parametrize("method", of_kind("loss", "weighting"))
def test_every_loss_and_weighting_differs_from_cross_entropy_on_unbalanced_counts(method: Method) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(30, 3, dtype=torch.float64).clamp(-1, 1), torch.arange(30) % 3
    loss, plain = build_loss((method.name,), COUNTS, {}, n_epochs=10), LongTailLoss()
    loss.on_epoch(1)
    assert abs(loss(logits, labels) - plain((loss.scale or 1) * logits, labels)) > 1e-3


@pytest.mark.parametrize("method", of_kind("weighting"))
def test_every_weighting_weighs_small_classes_more(method: Method) -> None:
    weights = method.build(COUNTS, **method.own({}))
    assert (np.diff(weights) > 1e-3).all()
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("method", of_kind("sampling", "resampling"))
def test_every_sampling_draws_other_rows_than_instance_sampling(method: Method) -> None:
    def tail(name: str) -> int:
        return int((LABELS[build_row_sampler((name,), LABELS, 3, n_epochs=10, seed=0)(10)] == 2).sum())

    assert tail(method.name) >= 2 * tail("none") == 8


@pytest.mark.parametrize("method", of_kind("synthesis"))
def test_every_synthesis_makes_items_of_small_classes(method: Method) -> None:
    features, labels = method.build(FEATURES, LABELS, 0, **method.own({}))
    assert len(features) == len(labels) > len(LABELS)
    assert np.bincount(labels)[2] > COUNTS[2]


@pytest.mark.parametrize("method", of_kind("posthoc"))
def test_every_correction_changes_logits(method: Method, fitted: Any) -> None:
    corrected, _, _ = correct(method.name, fitted, COUNTS, VAL, [method.own({})])
    assert np.abs(corrected.logits(FEATURES) - fitted.logits(FEATURES)).max() > 1e-3


@pytest.mark.parametrize("method", of_kind("decoupled"))
def test_every_second_step_changes_logits(method: Method, fitted: Any) -> None:
    second = method.build(lambda: fitted, Stage2(FEATURES, LABELS, VAL, 0), **method.own({}))
    assert np.abs(second.logits(FEATURES) - fitted.logits(FEATURES)).max() > 1e-3


@pytest.mark.parametrize("method", of_kind("sampling", "resampling", "synthesis", "weighting", "loss"))
def test_what_does_not_correct_fitted_heads_is_refused_there(method: Method, fitted: Any) -> None:
    with pytest.raises(InputError, match=rf"corrected by logit_adjust_posthoc, tau_norm, got '{method.name}'"):
        correct(method.name, fitted, COUNTS, VAL, [{}])


@pytest.mark.parametrize("method", ROWS)
def test_every_method_that_corrects_moves_the_prior_of_its_scores(method: Method) -> None:
    moved = np.abs(implied_prior(method.name, COUNTS, method.own({})) - COUNTS / COUNTS.sum()).max()
    assert (moved > 1e-3) == method.corrects


@pytest.mark.parametrize("name", [name for name, row in HEADS.items() if row.has_epochs])
def test_every_head_with_epochs_can_be_trained_on_any_loss(name: str) -> None:
    assert fit_on_loss.dispatch(head_class(name)) is not fit_on_loss.dispatch(object)


def test_a_head_that_nothing_trains_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"^a head that is trained in epochs must register with fit_on_loss, got SVMHead$"
    ):
        fit_on_loss(build_head("svm", {}, 0), (FEATURES, LABELS), VAL, lambda epoch: np.arange(3), LongTailLoss(), 0)


def test_documented_methods_and_heads_are_those_of_the_rows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "longtail.md").read_text(encoding="utf-8")
    table = page.split("## The methods")[1].split("\n\n")[2]
    documented = {}
    for line in table.splitlines()[2:]:
        names, _, heads = line.strip("|").split("|")
        documented |= {name: _heads_of(heads) for name in re.findall(r"`(\w+)`", names)}
    assert documented == {name: set(method.heads) for name, method in METHODS.items()}


def _heads_of(text: str) -> set[str]:
    """Return the heads that words such as ``all but prototype`` or ``linear, mlp`` stand for."""
    named = {head for head in HEADS if head in text}
    return set(HEADS) - named if "all" in text else named


def test_the_prior_of_weights_follows_from_them() -> None:
    assert_allclose(implied_prior("reweight_inverse", COUNTS, {}), 1 / 3, rtol=1e-12)
    roots = np.sqrt(COUNTS)
    assert_allclose(implied_prior("reweight_sqrt", COUNTS, {}), roots / roots.sum(), rtol=1e-12)


def test_hyperparameters_reach_builders_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}

    def rows(labels: Any, counts: Any, n_epochs: int, seed: int, n_rows: int, power: float) -> Any:
        seen["power"] = power
        return lambda epoch: np.arange(n_rows)

    row = Method("mine", "sampling", ANY_HEAD, "me", "a:b", {"power": Hyperparameter(0.3, (0.3,), 0.0, 1.0)})
    monkeypatch.setitem(METHODS._rows, "mine", row)
    monkeypatch.setattr(Method, "build", lambda self, *args, **kwargs: rows(*args, **kwargs))
    build_row_sampler(("mine",), LABELS, 3, 10, 0, params={"power": 0.7})
    assert seen == {"power": 0.7}
    build_row_sampler(("mine",), LABELS, 3, 10, 0)
    assert seen == {"power": 0.3}
